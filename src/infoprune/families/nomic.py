"""NomicBERT: post-norm encoder with rotary positions and a gated feed-forward network."""

from infoprune.families.table import Family, Rows, Setting, SiteRow

NOMIC_BERT = Family(
    model_type="nomic_bert",
    models="Nomic Embed",
    task="classification",
    layers="layers",
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("self_attn.q_proj"), Rows("self_attn.k_proj"), Rows("self_attn.v_proj")),
            readers=("self_attn.o_proj",),
            stream="self_attn.v_proj",
            unit_size=("self_attn:head_dim",),
            attention="self_attn",
            config=(Setting("num_attention_heads"), Setting("head_dim", each="self_attn:head_dim", fixed=True)),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.gate_proj"), Rows("mlp.up_proj")),
            readers=("mlp.down_proj",),
            stream="mlp.up_proj",
            config=(Setting("intermediate_size"),),
        ),
    ),
    since="5.5.0",
)
