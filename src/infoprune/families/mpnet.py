"""MPNet: BERT with relative positions."""

from infoprune.families.table import Family, Rows, Setting, SiteRow

MPNET = Family(
    model_type="mpnet",
    models="MPNet",
    task="classification",
    layers="encoder.layer",
    sites=(
        # no heads: the encoder computes one position bias for all heads and adds it in every layer
        SiteRow(
            structure="ffn",
            producers=(Rows("intermediate.dense"),),
            readers=("output.dense",),
            stream="intermediate.dense",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
