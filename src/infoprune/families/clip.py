"""CLIP and SigLIP: pre-norm towers of texts and of pictures, each by itself, or both with one space of embeddings."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow, Stack


def tower(config: str = "") -> tuple[SiteRow, ...]:
    """Return the rows of a layer of either tower.

    Args:
        config: What the names of the config's fields begin with, such as "text_config.".
    """
    return (
        SiteRow(
            structure="heads",
            producers=(Rows("self_attn.q_proj"), Rows("self_attn.k_proj"), Rows("self_attn.v_proj")),
            readers=("self_attn.out_proj",),
            stream="layer_norm1",
            unit_size=("self_attn:head_dim",),
            attributes=(
                Attribute("self_attn", "num_heads"),
                Attribute("self_attn", "embed_dim", each="self_attn:head_dim"),
            ),
            attention="self_attn",
            # head size is hidden_size / num_attention_heads: fewer heads alone would mean larger heads
            config=(Setting(f"{config}num_attention_heads", fills=f"{config}hidden_size"),),
        ),
        SiteRow(
            structure="ffn",
            producers=(Rows("mlp.fc1"),),
            readers=("mlp.fc2",),
            stream="layer_norm2",
            config=(Setting(f"{config}intermediate_size"),),
        ),
    )


NORMS = ("layer_norm1", "layer_norm2")

CLIP_TEXT = Family(
    model_type="clip_text_model",
    models="CLIP (texts)",
    task="embedding",
    layers="encoder.layers",
    sites=tower(),
    hidden_size=HiddenSize(
        tables=("embeddings.token_embedding", "embeddings.position_embedding"),
        norms=Norms(within=NORMS, above=("final_layer_norm",)),
        heads=("text_projection",),
        config=(Setting("hidden_size"),),
    ),
    since="5.9.0",
    embedding="pooler_output",
)
CLIP_VISION = replace(
    CLIP_TEXT,
    model_type="clip_vision_model",
    models="CLIP (pictures)",
    hidden_size=HiddenSize(
        tables=("embeddings", "embeddings.patch_embedding", "embeddings.position_embedding"),
        norms=Norms(below=("pre_layrnorm",), within=NORMS, above=("post_layernorm",)),
        heads=("visual_projection",),
        config=(Setting("hidden_size"),),
    ),
    reads=("pictures",),
)
CLIP = replace(
    CLIP_TEXT,
    model_type="clip",
    models="CLIP",
    layers="text_model.encoder.layers",
    sites=tower("text_config."),
    pictures=Stack("vision_model.encoder.layers", tower("vision_config.")),
    hidden_size=None,  # two streams
    reads=("texts", "pictures"),
)
# no `hidden_size`: the embedding of a picture has it, and that of a text, which is compared with it, is as long
SIGLIP_TEXT = replace(CLIP_TEXT, model_type="siglip_text_model", models="SigLIP (texts)", hidden_size=None)
# no `config` of its neurons: the head that pools the patches has as many, by the same field
PATCHES = (tower("vision_config.")[0], replace(tower()[1], config=()))
SIGLIP_VISION = replace(
    CLIP_VISION,
    model_type="siglip_vision_model",
    models="SigLIP (pictures)",
    sites=(tower()[0], PATCHES[1]),
    hidden_size=None,
)
SIGLIP = replace(
    CLIP,
    model_type="siglip",
    models="SigLIP, SigLIP 2",
    pictures=Stack("vision_model.encoder.layers", PATCHES),
)
