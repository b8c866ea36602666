"""GPT-BigCode: GPT-2 with linear modules, in which all queries have one key and one value."""

from dataclasses import replace

from infoprune.families.gpt2 import GPT2
from infoprune.families.table import Attribute, Rows

HEADS, FFN = GPT2.sites
GPT_BIGCODE = replace(
    GPT2,
    model_type="gpt_bigcode",
    models="StarCoder 1, SantaCoder",
    requires=(("multi_query", True), ("add_cross_attention", False)),
    sites=(
        replace(
            HEADS,
            producers=(Rows("attn.c_attn", shared=(2, "attn:head_dim")),),
            attributes=(
                Attribute("attn", "num_heads"),
                Attribute("attn", "num_key_value_groups"),
                Attribute("attn", "embed_dim", each="attn:head_dim"),
            ),
        ),
        FFN,
    ),
)
