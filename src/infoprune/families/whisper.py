"""Whisper: pre-norm encoder of audio and pre-norm decoder of text, with the layers of BART."""

from infoprune.families.bart import decoder, encoder
from infoprune.families.table import Family

WHISPER = Family(
    model_type="whisper",
    models="Whisper",
    task="speech-recognition",
    layers="encoder.layers",
    sites=encoder("self_attn_layer_norm", "final_layer_norm"),
    decoder=decoder("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    reads=("sound",),
    # no `hidden_size`: one convolution reads another's output, both of the hidden size, which no field describes yet
)
