"""ModernBERT's decoder: as its encoder, with separate projections of query, key and value."""

from infoprune.families.table import Family, Rows, Setting, SiteRow

MODERNBERT_DECODER = Family(
    model_type="modernbert-decoder",
    models="Ettin (decoder)",
    task="causal-lm",
    layers="layers",
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attn.q_proj"), Rows("attn.k_proj"), Rows("attn.v_proj")),
            readers=("attn.Wo",),
            stream="attn_norm",
            unit_size=("attn:head_dim",),
            attention="attn",
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.Wi", parts=(1, 1)),),
            readers=("mlp.Wo",),
            stream="mlp_norm",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
