"""ModernBERT: pre-norm encoder with fused query, key and value and a fused gated feed-forward network."""

from infoprune.families.table import Family, Rows, Setting, SiteRow

MODERNBERT = Family(
    model_type="modernbert",
    models="ModernBERT",
    task="classification",
    layers="layers",
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attn.Wqkv", parts=(1, 1, 1)),),
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
    since="5.1.0",
)
