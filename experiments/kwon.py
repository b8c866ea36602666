"""Kwon et al. on movie reviews: the effect of its bounds, and of the sums over batches in its public code.

Run: python -m experiments.kwon
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

import torch
from torch import Tensor

from experiments.cells import cell, cells, console
from experiments.comparison import METHODS, Bench, prepared
from experiments.pages import write_part
from infoprune.budgets.budget import Budget
from infoprune.methods.apply import choose
from infoprune.repairing.mask_tuning import LARGEST, tune_masks
from infoprune.statistics.statistics import Statistics
from infoprune.surgery import apply_plan
from infoprune.tasks.compare import between
from infoprune.tasks.evaluate import evaluate

RESULTS = Path(__file__).parent / "results" / "kwon.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research" / "criteria" / "kwon.md"
TOGETHER = 32
"""Number of texts whose gradients the public code adds before it takes the square."""
GRADIENTS = {"every class, by its probability": "each text", "the predicted class": f"sums of {TOGETHER} texts"}
TUNINGS = {"none": None, "as published": LARGEST, "without bounds": inf}


def main() -> None:
    """Compute the missing cells and write the table into the card."""
    for share in (0.5, 0.25):
        for gradient in GRADIENTS:
            for tuning in TUNINGS:
                key = {"flops": share, "gradient": gradient, "tuning": tuning, "samples": 256, "eval_texts": 1000}
                cell(RESULTS, key, partial(measure, key))
    write_part(PAGE, "kwon", table(cells(RESULTS)))
    console.print(f"wrote {PAGE.name}")


def measure(key: dict) -> dict:
    """Compute one cell: search with this Fisher information, tune the masks, evaluate on test texts."""
    bench: Bench = prepared("movie_reviews", 0, 0, key["samples"], key["eval_texts"], ("kwon",))
    statistics = bench.statistics
    if key["gradient"] == "the predicted class":
        statistics = summed(bench, statistics)
    method, goal = METHODS["kwon"], Budget("flops", key["flops"])
    plan = choose(method, bench.model, bench.texts, statistics, goal, bench.costs)
    small, bounds = apply_plan(bench.model, plan), TUNINGS[key["tuning"]]
    if bounds is not None:
        small = tune_masks(small, bench.model, bench.texts, bench.statistics, largest=bounds)
    answers = evaluate(small, bench.eval_batches)
    found = between(bench.dense, answers)
    spreads = [float(margins(each.logits).std()) for each in (answers, bench.dense)]
    return {**found.metrics(), "margins": spreads[0] / spreads[1], "kept": [kept for kept, _ in plan.counts.values()]}


def summed(bench: Bench, statistics: Statistics) -> Statistics:
    """Return gradients of the log-probability of the predicted class, summed over texts in a random order."""
    logits = evaluate(bench.model, bench.texts).logits.double()
    # what is stored is sqrt(p_0 p_1) times the gradient of z_0 - z_1
    factors = (-margins(logits).abs() / 2).exp() * -margins(logits).sign()
    order = torch.randperm(len(factors), generator=torch.Generator().manual_seed(0)).split(TOGETHER)
    sites = {}
    for name, each in statistics.sites.items():
        if each.masks is None:
            raise ValueError("the statistics have no masks, expected those collected for Kwon")
        rows = each.masks[:, 0] * factors[:, None]
        sites[name] = replace(each, masks=torch.stack([rows[part].sum(0) for part in order])[:, None])
    return replace(statistics, sites=sites)


def margins(logits: Tensor) -> Tensor:
    """Return the logit of the second class minus that of the first."""
    return logits[:, 1] - logits[:, 0]


def table(rows: Sequence[dict]) -> list[str]:
    """Return a line for every cell."""
    lines = [
        "| FLOPs | gradient of | squared for | factors | KL (nats) | agreement | accuracy | margins, of dense |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['flops']:.0%} | {row['gradient']} | {GRADIENTS[row['gradient']]} | {row['tuning']} "
            f"| {row['kl']:.4f} | {row['agreement']:.2%} | {row['accuracy']:.2%} | {row['margins']:.2f} |"
        )
    return lines


if __name__ == "__main__":
    main()
