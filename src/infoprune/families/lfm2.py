"""LFM2: attention in some layers, short convolutions in the others; the convolutions stay."""

from dataclasses import replace

from infoprune.families.llama import FFN, HEADS, MISTRAL
from infoprune.families.table import Rows

LFM2 = replace(
    MISTRAL,
    model_type="lfm2",
    models="LFM2, LFM2.5",
    sites=(
        replace(HEADS, readers=("self_attn.out_proj",), stream="operator_norm", optional=True),
        replace(
            FFN,
            producers=(Rows("feed_forward.w1"), Rows("feed_forward.w3")),
            readers=("feed_forward.w2",),
            stream="ffn_norm",
            config=(),  # a stock config rounds the number of neurons that it names
        ),
    ),
    hidden_size=None,  # the convolutions have a channel for every coordinate
)
