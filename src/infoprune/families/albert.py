"""ALBERT: one layer, or a few, applied several times; a site covers all applications of its layer."""

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

ALBERT = Family(
    model_type="albert",
    models="ALBERT",
    task="classification",
    layers="encoder.albert_layer_groups.*.albert_layers",
    shared=True,
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attention.query"), Rows("attention.key"), Rows("attention.value")),
            readers=("attention.dense",),
            stream="attention.value",
            unit_size=("attention:attention_head_size",),
            attributes=(
                Attribute("attention", "num_attention_heads"),
                Attribute("attention", "all_head_size", each="attention:attention_head_size"),
            ),
            # no `attention`: the module cannot be left out, since the residual and the norm are in it too
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("ffn"),),
            readers=("ffn_output",),
            stream="ffn",
            config=(Setting("intermediate_size"),),
        ),
    ),
)
