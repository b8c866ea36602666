"""Whisper: pre-norm encoder of sound and pre-norm decoder of text; layers are put together as those of BART."""

from infoprune.families.bart import attention, network
from infoprune.families.table import Family, Stack

WHISPER = Family(
    model_type="whisper",
    models="Whisper",
    task="speech-recognition",
    layers="encoder.layers",
    sites=(
        attention(
            "heads", "self_attn", "encoder_attention_heads", stream="self_attn_layer_norm", refit=("self_attn.v_proj",)
        ),
        network("encoder_ffn_dim", stream="final_layer_norm"),
    ),
    decoder=Stack(
        layers="decoder.layers",
        sites=(
            attention(
                "heads",
                "self_attn",
                "decoder_attention_heads",
                stream="self_attn_layer_norm",
                refit=("self_attn.v_proj",),
            ),
            # its values are of the encoder's frames, whose worth here is unknown
            attention("cross-heads", "encoder_attn", "decoder_attention_heads", stream="encoder_attn_layer_norm"),
            network("decoder_ffn_dim", stream="final_layer_norm"),
        ),
    ),
    # one convolution writes what another reads, both as wide as the stream: no table says that yet
)
