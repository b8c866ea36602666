"""Cohere: pre-norm decoders with attention and feed-forward network in parallel, after one norm."""

from dataclasses import replace

from infoprune.families.llama import FFN, HEADS, MISTRAL

COHERE2 = replace(
    MISTRAL,
    model_type="cohere2",
    models="Command R7B, Command A",
    sites=(
        replace(HEADS, stream=None),  # the network in parallel corrects errors of the residual
        replace(FFN, stream="input_layernorm"),
    ),
    hidden_size=None,  # two blocks read one norm
)
NORMS = ("self_attn.q_norm.weight", "self_attn.k_norm.weight")  # a gain for every head; not in all models
COHERE = replace(
    COHERE2,
    model_type="cohere",
    models="Command R, Aya",
    sites=(replace(COHERE2.sites[0], vectors=NORMS), COHERE2.sites[1]),
)
