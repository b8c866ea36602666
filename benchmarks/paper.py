"""Forecast for larger models: the table of docs/guides/scale.md, from their configs alone.

Run: python -m benchmarks.paper
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from infoprune.forecasting.forecast import forecast
from infoprune.forecasting.workload import Workload
from infoprune.reports.render import human

WORK = {"samples": 1024, "max_length": 512, "batch_size": 1}
LIMITS = {"1B": 12 * 10**9, "7B": 32 * 10**9, "70B": 256 * 10**9}
NO_LIMIT = 10**15
# sizes of public models with these names
MODELS = {
    "1B": LlamaConfig(
        hidden_size=2048,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=8192,
        vocab_size=128256,
        tie_word_embeddings=True,
    ),
    "7B": LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        intermediate_size=11008,
        vocab_size=32000,
    ),
    "70B": LlamaConfig(
        hidden_size=8192,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        intermediate_size=28672,
        vocab_size=32000,
    ),
}
COLUMNS = (
    "model",
    "weights (bf16)",
    "statistics",
    "memory limit",
    "passes",
    "collect",
    "rank",
    "repair",
    "passes' FLOPs",
    "statistics' FLOPs",
)


def rows(name, model):
    """Yield one row with all statistics in memory, and one with a limit of the process."""
    for memory in (NO_LIMIT, LIMITS[name]):
        found = forecast(model, Workload(**WORK, memory=memory))
        held = "none" if memory == NO_LIMIT else human(memory, "B")
        peaks = [human(stage.bytes, "B") for stage in found.stages.values()]
        flops, exact = (sum(getattr(stage, field) for stage in found.stages.values()) for field in ("flops", "exact"))
        yield (
            name,
            human(found.bytes, "B"),
            human(sum(found.sites.values()), "B"),
            held,
            str(found.passes),
            *peaks,
            human(flops),
            human(exact),
        )


def main() -> None:
    """Print the table."""
    print(f"| {' | '.join(COLUMNS)} |")
    print("|" + "---|" * len(COLUMNS))
    for name, config in MODELS.items():
        with torch.device("meta"):
            model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
        for row in rows(name, model):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
