"""BART and Marian: post-norm encoder and decoder; the decoder has a second attention that reads the encoder."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Rows, Setting, SiteRow, Stack


def _heads(kind: str, module: str, refit: tuple[str, ...] = ()) -> SiteRow:
    return SiteRow(
        kind=kind,
        producers=(Rows(f"{module}.q_proj"), Rows(f"{module}.k_proj"), Rows(f"{module}.v_proj")),
        readers=(f"{module}.out_proj",),
        stream=f"{module}.q_proj",
        refit=refit,
        unit_size=(f"{module}:head_dim",),
        attributes=(
            Attribute(module, "num_heads"),
            Attribute(module, "embed_dim", each=f"{module}:head_dim"),
        ),
        attention=module,
    )


def _ffn(field: str) -> SiteRow:
    return SiteRow(
        kind="ffn",
        producers=(Rows("fc1"),),
        readers=("fc2",),
        stream="fc1",
        refit=("fc1",),
        config=(Setting(field),),
    )


BART = Family(
    model_type="bart",
    models="BART",
    task="seq2seq",
    layers="encoder.layers",
    sites=(_heads("heads", "self_attn", refit=("self_attn.v_proj",)), _ffn("encoder_ffn_dim")),
    decoder=Stack(
        layers="decoder.layers",
        sites=(
            _heads("heads", "self_attn", refit=("self_attn.v_proj",)),
            _heads(
                "cross-heads", "encoder_attn"
            ),  # its values are of the encoder's tokens, whose worth here is unknown
            _ffn("decoder_ffn_dim"),
        ),
    ),
)
MARIAN = replace(BART, model_type="marian", models="Marian, OPUS-MT")
