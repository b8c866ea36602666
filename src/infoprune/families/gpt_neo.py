"""GPT-Neo and GPT-J: decoders with separate projections; in GPT-J both blocks read one norm, in parallel."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow

HEADS = SiteRow(
    structure="heads",
    producers=(Rows("attn.attention.q_proj"), Rows("attn.attention.k_proj"), Rows("attn.attention.v_proj")),
    readers=("attn.attention.out_proj",),
    stream="ln_1",
    unit_size=("attn.attention:head_dim",),
    attributes=(Attribute("attn.attention", "num_heads"),),
    attention="attn.attention",
    config=(Setting("num_heads", fills="hidden_size"),),
)
FFN = SiteRow(
    structure="ffn",
    producers=(Rows("mlp.c_fc"),),
    readers=("mlp.c_proj",),
    stream="ln_2",
    config=(Setting("intermediate_size"),),
)
GPT_NEO = Family(
    model_type="gpt_neo",
    models="GPT-Neo",
    task="causal-lm",
    layers="h",
    sites=(HEADS, FFN),
    hidden_size=HiddenSize(
        tables=("wte", "wpe"),
        norms=Norms(within=("ln_1", "ln_2"), above=("ln_f",)),
        heads=("lm_head", "score", "classifier", "qa_outputs"),
        config=(Setting("hidden_size"),),
    ),
)
GPTJ = replace(
    GPT_NEO,
    model_type="gptj",
    models="GPT-J",
    sites=(
        replace(
            HEADS,
            producers=(Rows("attn.q_proj"), Rows("attn.k_proj"), Rows("attn.v_proj")),
            readers=("attn.out_proj",),
            stream=None,  # the network in parallel corrects errors of the residual
            unit_size=("attn:head_dim",),
            attributes=(Attribute("attn", "num_attention_heads"),),
            attention="attn",
            config=(),  # the head size is n_embd / n_head
        ),
        replace(
            FFN,
            producers=(Rows("mlp.fc_in"),),
            readers=("mlp.fc_out",),
            stream="ln_1",
            config=(Setting("n_inner"),),
        ),
    ),
    hidden_size=None,
)
