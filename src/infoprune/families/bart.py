"""BART and Marian: post-norm encoder and decoder; the decoder has a second attention that reads the encoder."""

from dataclasses import replace

from infoprune.families.table import Attribute, Family, Norms, Rows, Setting, SiteRow, Stack, Width


def attention(kind: str, module: str, field: str, *, stream: str, refit: tuple[str, ...] = ()) -> SiteRow:
    """The heads of an attention.

    Args:
        kind: of site.
        module: path of the attention.
        field: of the config, that says how many heads there are.
        stream: what reads the residual first.
        refit: producers that a repair re-fits.
    """
    return SiteRow(
        kind=kind,
        producers=(Rows(f"{module}.q_proj"), Rows(f"{module}.k_proj"), Rows(f"{module}.v_proj")),
        readers=(f"{module}.out_proj",),
        stream=stream,
        refit=refit,
        unit_size=(f"{module}:head_dim",),
        attributes=(
            Attribute(module, "num_heads"),
            Attribute(module, "embed_dim", each=f"{module}:head_dim"),
        ),
        attention=module,
        config=(Setting(field, fills="d_model"),),
    )


def network(field: str, *, stream: str) -> SiteRow:
    """The neurons of a layer.

    Args:
        field: of the config, that says how many neurons there are.
        stream: what reads the residual first.
    """
    return SiteRow(
        kind="ffn",
        producers=(Rows("fc1"),),
        readers=("fc2",),
        stream=stream,
        refit=("fc1",),
        config=(Setting(field),),
    )


BART = Family(
    model_type="bart",
    models="BART",
    task="seq2seq",
    layers="encoder.layers",
    sites=(
        attention(
            "heads", "self_attn", "encoder_attention_heads", stream="self_attn.q_proj", refit=("self_attn.v_proj",)
        ),
        network("encoder_ffn_dim", stream="fc1"),
    ),
    decoder=Stack(
        layers="decoder.layers",
        sites=(
            attention(
                "heads", "self_attn", "decoder_attention_heads", stream="self_attn.q_proj", refit=("self_attn.v_proj",)
            ),
            # its values are of the encoder's tokens, whose worth here is unknown
            attention("cross-heads", "encoder_attn", "decoder_attention_heads", stream="encoder_attn.q_proj"),
            network("decoder_ffn_dim", stream="fc1"),
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
