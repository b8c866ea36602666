"""DistilBERT: BERT under other names."""

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

DISTILBERT = Family(
    model_type="distilbert",
    models="DistilBERT",
    task="classification",
    layers="transformer.layer",
    sites=(
        SiteRow(
            kind="heads",
            producers=(Rows("attention.q_lin"), Rows("attention.k_lin"), Rows("attention.v_lin")),
            readers=("attention.out_lin",),
            stream="attention.v_lin",
            refit=("attention.v_lin",),
            unit_size=("attention:attention_head_size",),
            attributes=(
                Attribute("attention", "n_heads"),
                Attribute("attention", "dim", each="attention:attention_head_size"),
            ),
            attention="attention",
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("ffn.lin1"),),
            readers=("ffn.lin2",),
            stream="ffn.lin1",
            refit=("ffn.lin1",),
            config=(Setting("hidden_dim"),),
        ),
    ),
)
