"""StableLM: Llama with heads that are together as wide as the residual stream."""

from dataclasses import replace

from infoprune.families.llama import FFN, GROUPS, HEADS, MISTRAL
from infoprune.families.table import Attribute, Setting

STABLELM = replace(
    MISTRAL,
    model_type="stablelm",
    models="StableLM 2, StableLM Zephyr",
    requires=(("use_parallel_residual", False), ("qk_layernorm", False)),
    sites=(
        replace(
            HEADS,
            attributes=(
                Attribute("self_attn", "num_heads", each=GROUPS),
                Attribute("self_attn", "num_key_value_heads"),
            ),
            config=(
                Setting("num_attention_heads", each=GROUPS, fills="hidden_size"),
                Setting("num_key_value_heads"),
            ),
        ),
        FFN,
    ),
    since="5.0.0",  # before, the forward pass has a fixed number of heads
)
