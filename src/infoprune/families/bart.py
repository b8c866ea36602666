"""BART and Marian: post-norm encoder and decoder; the decoder has a second attention that reads the encoder."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Norms, Rows, Setting, SiteRow, Stack, Width


def _heads(kind: str, module: str, field: str, refit: tuple[str, ...] = ()) -> SiteRow:
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
        config=(Setting(field, fills="d_model"),),
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
    sites=(
        _heads("heads", "self_attn", "encoder_attention_heads", refit=("self_attn.v_proj",)),
        _ffn("encoder_ffn_dim"),
    ),
    decoder=Stack(
        layers="decoder.layers",
        sites=(
            _heads("heads", "self_attn", "decoder_attention_heads", refit=("self_attn.v_proj",)),
            _heads(
                "cross-heads", "encoder_attn", "decoder_attention_heads"
            ),  # its values are of the encoder's tokens, whose worth here is unknown
            _ffn("decoder_ffn_dim"),
        ),
    ),
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
        crossing=("encoder_attn.k_proj", "encoder_attn.v_proj"),
        heads=("lm_head", "qa_outputs"),
        config=(Setting("d_model"),),
        requires=(("scale_embedding", False),),  # by the square root of the width
    ),
)
# positions that are computed, not learnt, cannot be cut
MARIAN = replace(BART, model_type="marian", models="Marian, OPUS-MT", width=None)
