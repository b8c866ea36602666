"""BART and Marian: post-norm encoder and decoder; the decoder has a second attention that reads the encoder."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Norms, Rows, Setting, SiteRow, Stack, Width

CROSSING = ("encoder_attn.k_proj", "encoder_attn.v_proj")


def encoder(attended: str, widened: str) -> tuple[SiteRow, ...]:
    """The sites of an encoder's layer.

    Args:
        attended: what reads the residual first on its way to the attention.
        widened: the same on its way to the network.
    """
    return (_heads("heads", "self_attn", "encoder", attended), _ffn("encoder", widened))


def decoder(attended: str, crossed: str, widened: str) -> Stack:
    """The decoder.

    Args:
        attended: what reads the residual first on its way to the attention.
        crossed: the same on its way to the attention that reads the encoder.
        widened: the same on its way to the network.
    """
    return Stack(
        layers="decoder.layers",
        sites=(
            _heads("heads", "self_attn", "decoder", attended),
            _heads("cross-heads", "encoder_attn", "decoder", crossed, crossing=CROSSING),
            _ffn("decoder", widened),
        ),
    )


def _heads(kind: str, module: str, side: str, stream: str, crossing: tuple[str, ...] = ()) -> SiteRow:
    return SiteRow(
        kind=kind,
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
        kind="ffn",
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
    width=Width(
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
        requires=(("scale_embedding", False),),  # by the square root of the width
    ),
)
# positions that are computed, not learnt, cannot be cut
MARIAN = replace(BART, model_type="marian", models="Marian, OPUS-MT", width=None)
