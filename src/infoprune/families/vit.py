"""ViT and DeiT: pre-norm encoders of picture patches."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

VIT = Family(
    model_type="vit",
    models="ViT",
    task="image-classification",
    layers="layers",
    sites=(
        SiteRow(
            kind="heads",
            producers=(Rows("attention.q_proj"), Rows("attention.k_proj"), Rows("attention.v_proj")),
            readers=("attention.o_proj",),
            stream="layernorm_before",
            refit=("attention.v_proj",),
            unit_size=("attention:head_dim",),
            attributes=(Attribute("attention", "num_attention_heads"),),
            attention="attention",
            config=(Setting("num_attention_heads"), Setting("head_dim", each="attention:head_dim", fixed=True)),
        ),
        SiteRow(
            kind="ffn",
            producers=(Rows("mlp.fc1"),),
            readers=("mlp.fc2",),
            stream="layernorm_after",
            refit=("mlp.fc1",),
            config=(Setting("intermediate_size"),),
        ),
    ),
)
DEIT = replace(VIT, model_type="deit", models="DeiT")
