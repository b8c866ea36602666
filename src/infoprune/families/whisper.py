"""Whisper: pre-norm encoder of sound and pre-norm decoder of text; layers are put together as those of BART."""

from infoprune.families.bart import decoder, encoder
from infoprune.families.table import Family

WHISPER = Family(
    model_type="whisper",
    models="Whisper",
    task="speech-recognition",
    layers="encoder.layers",
    sites=encoder("self_attn_layer_norm", "final_layer_norm"),
    decoder=decoder("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    # one convolution writes what another reads, both as wide as the stream: no table says that yet
)
