"""BART and Marian: post-norm encoder and decoder; the decoder also attends to the encoder's output."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, HiddenSize, Norms, Rows, Setting, SiteRow, Stack

CROSSING = ("encoder_attn.k_proj", "encoder_attn.v_proj")


def encoder(attention: str, ffn: str) -> tuple[SiteRow, ...]:
    """Return the rows of an encoder layer.

    Args:
        attention: Path of the first module of the attention block, which reads the residual.
        ffn: Path of the first module of the feed-forward block, which reads the residual.
    """
    return (_heads("heads", "self_attn", "encoder", attention), _ffn("encoder", ffn))


def decoder(attention: str, cross_attention: str, ffn: str) -> Stack:
    """Return the stack of the decoder.

    Args:
        attention: Path of the first module of the attention block, which reads the residual.
        cross_attention: Path of the first module of the cross-attention block, which reads the residual.
        ffn: Path of the first module of the feed-forward block, which reads the residual.
    """
    return Stack(
        layers="decoder.layers",
        sites=(
            _heads("heads", "self_attn", "decoder", attention),
            _heads("cross-heads", "encoder_attn", "decoder", cross_attention, crossing=CROSSING),
            _ffn("decoder", ffn),
        ),
    )


def _heads(structure: str, module: str, side: str, stream: str, crossing: tuple[str, ...] = ()) -> SiteRow:
    return SiteRow(
        structure=structure,
        producers=(Rows(f"{module}.q_proj"), Rows(f"{module}.k_proj"), Rows(f"{module}.v_proj")),
        readers=(f"{module}.out_proj",),
        stream=stream,
        crossing=crossing,
        unit_size=(f"{module}:head_dim",),
        attributes=(
            Attribute(module, "num_heads"),
            Attribute(module, "embed_dim", each=f"{module}:head_dim"),
        ),
        attention=module,
        config=(Setting(f"{side}_attention_heads", fills="d_model"),),
    )


def _ffn(side: str, stream: str) -> SiteRow:
    return SiteRow(
        structure="ffn",
        producers=(Rows("fc1"),),
        readers=("fc2",),
        stream=stream,
        config=(Setting(f"{side}_ffn_dim"),),
    )


BART = Family(
    model_type="bart",
    models="BART",
    task="seq2seq",
    layers="encoder.layers",
    sites=encoder("self_attn.q_proj", "fc1"),
    decoder=decoder("self_attn.q_proj", "encoder_attn.q_proj", "fc1"),
    hidden_size=HiddenSize(
        tables=(
            "shared",
            "encoder.embed_tokens",
            "encoder.embed_positions",
            "decoder.embed_tokens",
            "decoder.embed_positions",
        ),
        norms=Norms(below=("encoder.layernorm_embedding",), within=("self_attn_layer_norm", "final_layer_norm")),
        decoder=Norms(
            below=("decoder.layernorm_embedding",),
            within=("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
        ),
        heads=("lm_head", "qa_outputs"),
        config=(Setting("d_model"),),
        requires=(("scale_embedding", False),),  # by the square root of the hidden size
    ),
)
# computed positions cannot be cut, only learnt ones
MARIAN = replace(BART, model_type="marian", models="Marian, OPUS-MT", hidden_size=None)
MBART = replace(
    BART,
    model_type="mbart",
    models="mBART",
    sites=encoder("self_attn_layer_norm", "final_layer_norm"),
    decoder=decoder("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    hidden_size=None,
)
# computed positions
M2M_100 = replace(MBART, model_type="m2m_100", models="M2M100, NLLB")
PEGASUS = replace(MBART, model_type="pegasus", models="Pegasus")
BLENDERBOT = replace(MBART, model_type="blenderbot", models="BlenderBot")
