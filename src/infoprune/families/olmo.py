"""OLMo: norms without parameters in OLMo 1; norms after the blocks, and over the queries of all heads, since OLMo 2."""

from dataclasses import replace

from infoprune.families.llama import FFN, HEADS, MISTRAL

OLMO = replace(
    MISTRAL,
    model_type="olmo",
    models="OLMo 1",
    hidden_size=None,  # its norms have no parameters that would say what size they expect
)
OLMO2 = replace(
    MISTRAL,
    model_type="olmo2",
    models="OLMo 2",
    sites=(
        replace(HEADS, stream=None, vectors=("self_attn.q_norm.weight", "self_attn.k_norm.weight")),
        replace(FFN, stream=None),  # as in Gemma 2, the outputs pass through norms
    ),
    hidden_size=None,
)
OLMO3 = replace(OLMO2, model_type="olmo3", models="OLMo 3", since="4.57.0")
