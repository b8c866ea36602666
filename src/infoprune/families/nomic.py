"""NomicBERT and models with its layers: post-norm encoders with rotary positions, gated but in Jina Embeddings."""

from dataclasses import replace

from infoprune.families.bert import pooler
from infoprune.families.table import Family, HiddenSize, Norms, Rows, Setting, SiteRow

HEADS = SiteRow(
    structure="heads",
    producers=(Rows("self_attn.q_proj"), Rows("self_attn.k_proj"), Rows("self_attn.v_proj")),
    readers=("self_attn.o_proj",),
    stream="self_attn.v_proj",
    unit_size=("self_attn:head_dim",),
    attention="self_attn",
    config=(Setting("num_attention_heads"), Setting("head_dim", each="self_attn:head_dim", fixed=True)),
)
FFN = SiteRow(
    structure="ffn",
    producers=(Rows("mlp.gate_proj"), Rows("mlp.up_proj")),
    readers=("mlp.down_proj",),
    stream="mlp.up_proj",
    config=(Setting("intermediate_size"),),
)
HIDDEN_SIZE = HiddenSize(
    tables=("embeddings.word_embeddings", "embeddings.token_type_embeddings"),
    norms=Norms(below=("embeddings.LayerNorm",), within=("post_attention_layernorm", "post_mlp_layernorm")),
    heads=("nomic_bert.pooler.dense", "gte.pooler.dense", "classifier.dense", "classifier", "qa_outputs"),
    config=(Setting("hidden_size"),),
)
NOMIC_BERT = Family(
    model_type="nomic_bert",
    models="Nomic Embed",
    task="classification",
    layers="layers",
    sites=(HEADS, FFN),
    top=pooler("nomic_bert.pooler.dense", "classifier"),
    hidden_size=HIDDEN_SIZE,
    since="5.5.0",
)
GTE = replace(
    NOMIC_BERT,
    model_type="gte",
    models="GTE (multilingual)",
    top=pooler("gte.pooler.dense", "classifier"),
    since="5.18.0",
)
JINA_EMBEDDINGS_V3 = replace(
    NOMIC_BERT,
    model_type="jina_embeddings_v3",
    models="Jina Embeddings 3",
    sites=(HEADS, replace(FFN, producers=(Rows("mlp.fc1"),), readers=("mlp.fc2",), stream="mlp.fc1")),
    top=pooler("classifier.dense", "classifier.out_proj"),
    since="5.4.0",
)
