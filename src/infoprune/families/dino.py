"""DINOv2 and DINOv3: pre-norm encoders of image patches with layer scale, and with registers between the patches."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow

HEADS = SiteRow(
    structure="heads",
    producers=(Rows("attention.q_proj"), Rows("attention.k_proj"), Rows("attention.v_proj")),
    readers=("attention.o_proj",),
    stream="norm1",
    scale="layer_scale1.lambda1",
    unit_size=("attention:head_dim",),
    attributes=(Attribute("attention", "num_attention_heads"),),
    attention="attention",
    config=(Setting("num_attention_heads"), Setting("head_dim", each="attention:head_dim", fixed=True)),
)
FFN = SiteRow(
    structure="ffn",
    producers=(Rows("mlp.fc1"),),
    readers=("mlp.fc2",),
    stream="norm2",
    scale="layer_scale2.lambda1",
    # no `config`: a ratio to the hidden size, which is a whole number
)
GATED = replace(
    FFN,
    producers=(Rows("mlp.gate_proj", optional=True), Rows("mlp.up_proj")),
    readers=("mlp.down_proj",),
    requires=(("use_swiglu_ffn", True),),
)

DINOV2 = Family(
    model_type="dinov2",
    models="DINOv2",
    task="image-classification",
    layers="encoder.layer",
    sites=(HEADS, replace(FFN, requires=(("use_swiglu_ffn", False),)), GATED),
    # no `hidden_size`: the classifier reads two vectors of the stream side by side
    since="5.18.0",
    reads=("pictures",),
    embedding="pooler_output",
)
DINOV2_WITH_REGISTERS = replace(DINOV2, model_type="dinov2_with_registers", models="DINOv2 with registers")
DINOV3 = replace(
    DINOV2,
    model_type="dinov3_vit",
    models="DINOv3 (ViT)",
    task="embedding",
    layers="layer",
    sites=(
        replace(
            HEADS,
            attributes=(
                Attribute("attention", "num_heads"),
                Attribute("attention", "embed_dim", each="attention:head_dim"),
            ),
            # head size is hidden_size / num_attention_heads, and the hidden size stays
            config=(),
        ),
        replace(GATED, requires=(), config=(Setting("intermediate_size"),)),
    ),
    since="5.9.0",
)
