"""ALBERT: one layer, or a few, applied again and again: a site stands for all of its applications."""

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

ALBERT = Family(
    model_type="albert",
    models="ALBERT",
    task="classification",
    layers="encoder.albert_layer_groups.*.albert_layers",
    shared=True,
    sites=(
        SiteRow(
            kind="heads",
            producers=(Rows("attention.query"), Rows("attention.key"), Rows("attention.value")),
            readers=("attention.dense",),
            stream="attention.value",
            unit_size=("attention:attention_head_size",),
            attributes=(
                Attribute("attention", "num_attention_heads"),
                Attribute("attention", "all_head_size", each="attention:attention_head_size"),
            ),
            # it cannot be left out: the residual and the norm are in the same module
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("ffn"),),
            readers=("ffn_output",),
            stream="ffn",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
