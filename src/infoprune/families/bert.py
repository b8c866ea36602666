"""BERT: post-norm encoder, one up and one down projection, as many key/value heads as query heads."""

from infoprune.families.table import Attribute, Family, SiteRow

BERT = Family(
    model_type="bert",
    layers="encoder.layer",
    sites=(
        SiteRow(
            kind="heads",
            producers=("attention.self.query", "attention.self.key", "attention.self.value"),
            readers=("attention.output.dense",),
            stream="attention.output.LayerNorm",
            refit=("attention.self.value",),
            unit_size="attention.self:attention_head_size",
            attributes=(
                Attribute("attention.self", "num_attention_heads", "units"),
                Attribute("attention.self", "all_head_size", "coordinates"),
            ),
            config=None,  # head size is hidden_size / num_attention_heads: fewer heads would mean larger heads
        ),
        SiteRow(
            kind="ffn",
            producers=("intermediate.dense",),
            readers=("output.dense",),
            stream="output.LayerNorm",
            refit=("intermediate.dense",),
            config="intermediate_size",
        ),
    ),
)
