"""Speed-up relative to the saved FLOPs, on a classifier of MiniLM's shape with random weights.

Run: python -m benchmarks.speedup
"""

import argparse

import torch
from rich.console import Console
from rich.table import Table
from transformers import BertConfig, BertForSequenceClassification

from infoprune.measuring.measure import count_flops, count_parameters, example_batch, measure_latency
from infoprune.plan import Plan
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

SHAPE = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
SHARES = (0.5, 0.25)


def cut(model: BertForSequenceClassification, share: float) -> BertForSequenceClassification:
    """Return a model with the first units of every site; the choice of units does not change the time."""
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(round(n * share))) for name, n in units.items()}
    return apply_plan(model, Plan("bert", units, kept, "first", 0))


def main() -> None:
    """Print one table; dense and pruned models alternate, so that a busy machine slows all equally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    title = f"{options.inputs} x {options.tokens} tokens, {torch.get_num_threads()} threads, {options.repeats} rounds"
    table = Table(title=title)
    for name in ("attention", "keep", "parameters", "GFLOPs", "ms", "FLOPs /", "time /", "ratio"):
        table.add_column(name, justify="right")
    for attention in ("sdpa", "eager"):
        torch.manual_seed(0)
        dense = BertForSequenceClassification(BertConfig(**SHAPE, attn_implementation=attention)).eval()
        models = [dense, *(cut(dense, share) for share in SHARES)]
        batch = example_batch(dense.config, options.inputs, options.tokens)
        flops = [count_flops(model, batch) for model in models]
        times = measure_latency(models, batch, repeats=options.repeats)
        for model, share, work, taken in zip(models, (1.0, *SHARES), flops, times, strict=True):
            less, faster = flops[0] / work, times[0].median / taken.median
            table.add_row(
                attention,
                f"{share:g}",
                f"{count_parameters(model) / 1e6:.1f}M",
                f"{work / 1e9:.1f}",
                f"{taken.median:.0f} ±{(taken.high - taken.low) / 2:.0f}",
                f"{less:.2f}",
                f"{faster:.2f}",
                f"{faster / less:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
