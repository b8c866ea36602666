"""DistilBERT: the layers of BERT with other module names."""

from infoprune.families.bert import pooler
from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow

DISTILBERT = Family(
    model_type="distilbert",
    models="DistilBERT",
    task="classification",
    layers="transformer.layer",
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attention.q_lin"), Rows("attention.k_lin"), Rows("attention.v_lin")),
            readers=("attention.out_lin",),
            stream="attention.v_lin",
            unit_size=("attention:attention_head_size",),
            attributes=(
                Attribute("attention", "n_heads"),
                Attribute("attention", "dim", each="attention:attention_head_size"),
            ),
            attention="attention",
            config=(Setting("n_heads", fills="dim"),),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("ffn.lin1"),),
            readers=("ffn.lin2",),
            stream="ffn.lin1",
            config=(Setting("hidden_dim"),),
        ),
    ),
    top=pooler("pre_classifier", "classifier", "dim"),
    hidden_size=HiddenSize(
        tables=("embeddings.word_embeddings", "embeddings.position_embeddings"),
        norms=Norms(below=("embeddings.LayerNorm",), within=("sa_layer_norm", "output_layer_norm")),
        heads=("pre_classifier", "classifier", "qa_outputs"),
        config=(Setting("dim"),),
    ),
)
