"""Llama and similar models: pre-norm decoders with grouped queries and a gated feed-forward network."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow

GROUPS = "self_attn:num_key_value_groups"
HEAD = "self_attn:head_dim"
HEADS = SiteRow(
    structure="heads",
    producers=(Rows("self_attn.q_proj"), Rows("self_attn.k_proj"), Rows("self_attn.v_proj")),
    readers=("self_attn.o_proj",),
    stream="input_layernorm",
    unit_size=(GROUPS, HEAD),
    attention="self_attn",
    config=(
        Setting("num_attention_heads", each=GROUPS),
        Setting("num_key_value_heads"),
        Setting("head_dim", each=HEAD, fixed=True),
    ),
)
FFN = SiteRow(
    structure="ffn",
    producers=(Rows("mlp.gate_proj"), Rows("mlp.up_proj")),
    readers=("mlp.down_proj",),
    stream="post_attention_layernorm",
    config=(Setting("intermediate_size"),),
)
HIDDEN_SIZE = HiddenSize(
    tables=("embed_tokens",),
    norms=Norms(within=("input_layernorm", "post_attention_layernorm"), above=("norm",)),
    heads=("lm_head", "score", "qa_outputs"),
    config=(Setting("hidden_size"),),
)
# these configs require hidden_size to be a multiple of the number of heads, though head_dim makes that unnecessary
STRICT = (Setting("num_attention_heads", each=GROUPS, divides="hidden_size"), *HEADS.config[1:])

MISTRAL = Family(
    model_type="mistral",
    models="Mistral 7B, Ministral",
    task="causal-lm",
    layers="layers",
    sites=(HEADS, FFN),
    hidden_size=HIDDEN_SIZE,
)
LLAMA = replace(
    MISTRAL,
    model_type="llama",
    models="Llama 1 to 3, SmolLM, SmolLM2, TinyLlama",
    sites=(replace(HEADS, config=STRICT), FFN),
)
QWEN2 = replace(MISTRAL, model_type="qwen2", models="Qwen1.5, Qwen2, Qwen2.5")
QWEN3 = replace(MISTRAL, model_type="qwen3", models="Qwen3")
SMOLLM3 = replace(MISTRAL, model_type="smollm3", models="SmolLM3")
GEMMA = replace(
    LLAMA,
    model_type="gemma",
    models="Gemma 1",
    hidden_size=None,  # embeddings are scaled by the square root of the hidden size
)
# the outputs pass through norms before they are added to the residual
GEMMA2 = replace(
    MISTRAL,
    model_type="gemma2",
    models="Gemma 2",
    sites=(replace(HEADS, config=STRICT, stream=None), replace(FFN, stream=None)),
    hidden_size=None,  # as in Gemma 1
)
GEMMA3 = replace(GEMMA2, model_type="gemma3_text", models="Gemma 3 (text)", since="5.0.0")
PHI3 = replace(
    MISTRAL,
    model_type="phi3",
    models="Phi-3, Phi-3.5, Phi-4",
    sites=(
        replace(
            HEADS,
            producers=(Rows("self_attn.qkv_proj", parts=(GROUPS, 1, 1)),),
            attributes=(
                Attribute("self_attn", "num_key_value_heads"),
                Attribute("self_attn", "config.num_attention_heads", each=GROUPS),
            ),
        ),
        replace(FFN, producers=(Rows("mlp.gate_up_proj", parts=(1, 1)),)),
    ),
)

GRANITE = replace(
    MISTRAL,
    model_type="granite",
    models="Granite 3 (dense)",
    sites=tuple(replace(row, scale="config.residual_multiplier") for row in (HEADS, FFN)),
)
MINISTRAL = replace(MISTRAL, model_type="ministral", models="Ministral (2024)", since="4.57.0")
MINISTRAL3 = replace(MISTRAL, model_type="ministral3", models="Ministral 3 (text)", since="5.0.0")
ERNIE4_5 = replace(MISTRAL, model_type="ernie4_5", models="ERNIE 4.5 (dense)")
HUNYUAN_V1_DENSE = replace(MISTRAL, model_type="hunyuan_v1_dense", models="Hunyuan (dense)")
SEED_OSS = replace(MISTRAL, model_type="seed_oss", models="Seed-OSS")
# as in Gemma 2, the outputs pass through norms
EXAONE4 = replace(GEMMA2, model_type="exaone4", models="EXAONE 4")
GLM = replace(
    MISTRAL,
    model_type="glm",
    models="GLM-4 (9B), GLM-Edge",
    sites=(HEADS, replace(FFN, producers=(Rows("mlp.gate_up_proj", parts=(1, 1)),))),
)
GLM4 = replace(
    GLM,
    model_type="glm4",
    models="GLM-4-0414",
    sites=tuple(replace(row, stream=None) for row in GLM.sites),
    hidden_size=None,
)
STARCODER2 = replace(
    MISTRAL,
    model_type="starcoder2",
    models="StarCoder2",
    sites=(HEADS, replace(FFN, producers=(Rows("mlp.c_fc"),), readers=("mlp.c_proj",))),
)
