"""ModernBERT: pre-norm encoder with fused query, key and value and a fused gated network, and its decoder."""

from dataclasses import replace

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
MODERNBERT_DECODER = replace(
    MODERNBERT,
    model_type="modernbert-decoder",
    models="Ettin (decoder)",
    task="causal-lm",
    sites=(
        replace(MODERNBERT.sites[0], producers=(Rows("attn.q_proj"), Rows("attn.k_proj"), Rows("attn.v_proj"))),
        MODERNBERT.sites[1],
    ),
    since=None,
)
