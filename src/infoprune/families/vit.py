"""ViT and DeiT: pre-norm encoders of image patches."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow

VIT = Family(
    model_type="vit",
    models="ViT",
    task="image-classification",
    layers="layers",
    sites=(
        SiteRow(
            structure="heads",
            producers=(Rows("attention.q_proj"), Rows("attention.k_proj"), Rows("attention.v_proj")),
            readers=("attention.o_proj",),
            stream="layernorm_before",
            unit_size=("attention:head_dim",),
            attributes=(Attribute("attention", "num_attention_heads"),),
            attention="attention",
            config=(Setting("num_attention_heads"), Setting("head_dim", each="attention:head_dim", fixed=True)),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.fc1"),),
            readers=("mlp.fc2",),
            stream="layernorm_after",
            config=(Setting("intermediate_size"),),
        ),
    ),
    hidden_size=HiddenSize(
        tables=("embeddings", "embeddings.patch_embeddings.projection"),
        norms=Norms(within=("layernorm_before", "layernorm_after"), above=("layernorm",)),
        heads=("classifier",),
        config=(Setting("hidden_size"),),
    ),
    since="5.9.0",
    reads=("pictures",),
)
DEIT = replace(VIT, model_type="deit", models="DeiT")
