"""Qwen3.5: gated attention in every fourth layer, linear attention in the others, which stays as it is."""

from dataclasses import replace

from infoprune.families.llama import FFN, HEADS, MISTRAL

QWEN3_5 = replace(
    MISTRAL,
    model_type="qwen3_5_text",
    models="Qwen3.5 (text)",
    sites=(replace(HEADS, optional=True), FFN),  # a head's gate follows its query in one weight
    hidden_size=None,  # the table does not describe what linear attention reads and writes
    since="5.2.0",
)
