"""Budgets: sizes by the least loss in nats, against the same share of every layer, at equal FLOPs, on two tasks.

Run: python -m experiments.budgets [--seeds 3] [--split test] [--tasks movie_reviews topics] [--samples 1024 4096]
"""

import argparse
import math
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import fmean

from experiments import movie_reviews, topics
from experiments.cells import cell, cells, console
from experiments.task import Task
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "budgets.jsonl"
PAGE = ROOT / "docs" / "research/budgets.md"
TASKS = {"movie_reviews": movie_reviews.TASK, "topics": topics.TASK}
TITLES = {"movie_reviews": "Movie reviews", "topics": "BBC topics"}
SHARES = (0.5, 0.25, 0.2)
ALLOCATIONS = ("nats", "uniform")
FEW, MANY = 1024, 4096


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of calibration seeds")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--tasks", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--samples", nargs="+", type=int, default=[FEW, MANY], help="calibration texts")
    options = parser.parse_args()
    for task, samples, seed in product(options.tasks, options.samples, range(options.seeds)):
        bench = cache(partial(prepared, TASKS[task], seed, options.split, samples))
        allocations = ALLOCATIONS if samples == FEW else ALLOCATIONS[:1]
        for share, allocation in product(SHARES, allocations):
            key = {"task": task, "split": options.split, "samples": samples, "share": share, "allocation": allocation}
            cell(RESULTS, {**key, "seed": seed}, partial(measure, bench, share, allocation))
    write_page([row for row in cells(RESULTS) if row["split"] == options.split], options.split)
    console.print(f"wrote {PAGE.name}")


def prepared(task: Task, seed: int, split: str, samples: int) -> tuple:
    """Return what all cells of a task and a seed share: models, texts, one pass of statistics."""
    model, tokenizer = task.dense_model()
    texts = task.calibration(tokenizer, seed, samples)
    statistics = collect(model, texts, seed=seed)
    eval_batches = task.labelled(tokenizer, model, split)
    rankings = rank(statistics, ChannelInformation(), seed=seed)
    costs = find_costs(model, "flops", texts)
    return model, texts, statistics, rankings, costs, eval_batches, evaluate(model, eval_batches)


def measure(bench: Callable[[], tuple], share: float, allocation: str) -> dict:
    """Compute one cell: cut, evaluate; repair, evaluate."""
    model, texts, statistics, rankings, costs, eval_batches, dense = bench()
    plan = allocate(rankings, Budget("flops", share, allocation), costs)
    cut = apply_plan(model, plan, statistics)
    before = evaluate(cut, eval_batches)
    after = evaluate(repair(cut, model, texts, statistics=statistics), eval_batches)
    return {
        "flops": costs.of({name: kept for name, (kept, _) in plan.counts.items()}) / costs.dense,
        "kept": [kept for kept, _ in plan.counts.values()],
        "predicted": plan.nats_lost,
        "kl_cut": mean_kl(dense.logits, before.logits),
        "kl": mean_kl(dense.logits, after.logits),
        "accuracy": after.metrics["accuracy"],
        "dense_accuracy": dense.metrics["accuracy"],
    }


def write_page(rows: list[dict], split: str) -> None:
    """Write docs/research/budgets.md from the cells."""
    lines = [
        "# Budgets: how many units each layer keeps",
        "",
        "A budget is a share of the dense model's FLOPs (of the whole model, at the typical length of the calibration",
        "texts). It is divided among the neurons and heads of all layers by the least loss in nats, or evenly",
        "(`uniform`). Everything else is the same: unlabelled calibration texts, compensation, repair, no training",
        f"after the cut. MiniLM, {split} split, mean over calibration seeds.",
        "",
        "[real-models.md](real-models.md) compares free and even sizes of an embedding model.",
        "",
        "Made by `python -m experiments.budgets`.",
        "",
        "Rows of BBC topics and of 4,096 texts are older than two changes of the repair: it re-fits the query and key",
        "projections as well as the value projections, and neurons in the metric of their reader from 32 tokens for",
        "every input of a layer ([neurons.md](neurons.md)). On reviews from 1,024 texts both together lowered the KL",
        "by a fifth.",
        "",
        "| task | calibration texts | FLOPs | allocation | seeds | accuracy | points lost (lowest to highest) "
        "| KL (nats) | relative to uniform | KL before repair | relative to predicted |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, samples, share in product(
        *(dict.fromkeys(row[key] for row in rows) for key in ("task", "samples", "share"))
    ):
        by_name = {name: _some(rows, task, samples, share, name) for name in ALLOCATIONS}
        even = _some(rows, task, FEW, share, "uniform")
        lines += [_line(task, samples, share, name, cells, even) for name, cells in by_name.items() if cells]
    lines += ["", *_prediction(rows)]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _some(rows: list[dict], task: str, samples: int, share: float, allocation: str) -> list[dict]:
    wanted = {"task": task, "samples": samples, "share": share, "allocation": allocation}
    return [row for row in rows if wanted.items() <= row.items()]


def _line(task: str, samples: int, share: float, name: str, cells: list[dict], uniform: list[dict]) -> str:
    lost = [100 * (c["dense_accuracy"] - c["accuracy"]) for c in cells]
    kl, even = fmean(c["kl"] for c in cells), fmean(c["kl"] for c in uniform)
    return (
        f"| {TITLES[task]} | {samples:,} | {share:.0%} | {name} | {len(cells)} "
        f"| {fmean(c['accuracy'] for c in cells):.2%} | {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) "
        f"| {kl:.4f} | {kl / even:.2f} "
        f"| {fmean(c['kl_cut'] for c in cells):.4f} | {fmean(c['kl_cut'] / c['predicted'] for c in cells):.2f} |"
    )


def _prediction(rows: list[dict]) -> list[str]:
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        logs = {k: [math.log(r[k] / r["predicted"]) for r in rows if r["task"] == task] for k in ("kl_cut", "kl")}
        spread = {k: math.sqrt(fmean((x - fmean(v)) ** 2 for x in v)) for k, v in logs.items()}
        means = {k: math.exp(fmean(v)) for k, v in logs.items()}
        lines += [
            f"{TITLES[task]}: the KL before the repair is {means['kl_cut']:.2f} times the predicted loss, with a",
            f"standard deviation of {spread['kl_cut']:.0%} over the cells above; after the repair it is",
            f"{means['kl']:.2f} times the predicted loss, with a standard deviation of {spread['kl']:.0%}.",
            "",
        ]
    return lines


if __name__ == "__main__":
    main()
