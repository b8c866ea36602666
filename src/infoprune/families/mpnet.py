"""MPNet: BERT with relative positions, which are one bias for all layers."""

from infoprune.families.bert import pooler
from infoprune.families.table import Attribute, Family, HiddenSize, Norms, PositionBias, Rows, Setting, SiteRow

MPNET = Family(
    model_type="mpnet",
    models="MPNet",
    task="classification",
    layers="encoder.layer",
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attention.attn.q"), Rows("attention.attn.k"), Rows("attention.attn.v")),
            readers=("attention.attn.o",),
            stream="attention.attn.v",
            unit_size=("attention.attn:attention_head_size",),
            attributes=(
                Attribute("attention.attn", "num_attention_heads"),
                Attribute("attention.attn", "all_head_size", each="attention.attn:attention_head_size"),
            ),
            attention="attention.attn",
            bias=PositionBias("attention", table="encoder.relative_attention_bias"),
            # no `config`: the table has a column for every head, and each layer may keep others
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("intermediate.dense"),),
            readers=("output.dense",),
            stream="intermediate.dense",
            config=(Setting("intermediate_size"),),
        ),
    ),
    top=pooler("classifier.dense", "classifier.out_proj", field=None),
    hidden_size=HiddenSize(
        tables=("embeddings.word_embeddings", "embeddings.position_embeddings"),
        norms=Norms(below=("embeddings.LayerNorm",), within=("attention.LayerNorm", "output.LayerNorm")),
        heads=("classifier.dense", "classifier", "qa_outputs"),
        # no `config`: a stock model has heads of the size that this implies, and one table for all heads
    ),
)
