"""Whole blocks: does a budget that may leave blocks out lose less than one that leaves something of each?

Movie reviews, chosen on validation, reported on test. Run: python -m experiments.depth [--seeds 3] [--only validation]
"""

import argparse
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import fmean

from experiments.cells import cell, console
from experiments.movie_reviews import TASK
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.measuring.measure import example_batch, time_rounds
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import rank
from infoprune.repair.repair import repair
from infoprune.statistics.collect import collect
from infoprune.surgery import prune
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "depth.jsonl"
PAGE = ROOT / "docs" / "depth.md"
SHARES = (0.25, 0.2, 0.1, 0.05)
SPLITS = ("validation", "test")


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="calibration draws")
    parser.add_argument("--only", choices=SPLITS, help="compute the cells of one split, write no page")
    parser.add_argument("--page", action="store_true", help="write the page from the cells that are there")
    options = parser.parse_args()
    for split in SPLITS if options.only is None else (options.only,):
        for seed in range(0 if options.page else options.seeds):
            bench = cache(partial(prepared, seed, split))
            for share in SHARES:
                plain: dict = {}
                for depth in (False, True):
                    key = {"split": split, "share": share, "depth": depth, "seed": seed}
                    plain = cell(RESULTS, key, partial(measure, bench, share, depth, plain))
    if options.only is None:
        write_page([json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()])
        console.print(f"wrote {PAGE.name}")


def prepared(seed: int, split: str) -> tuple:
    """What all cells of a draw and a split share."""
    model, tokenizer = TASK.dense_model()
    texts = TASK.calibration(tokenizer, seed)
    statistics = collect(model, texts, seed=seed)
    rankings = rank(statistics, ChannelInformation(), seed=seed)
    costs = {depth: find_costs(model, "flops", texts, multiple=8, depth=depth) for depth in (False, True)}
    questions = TASK.labelled(tokenizer, model, split)
    return model, texts, statistics, rankings, costs, questions, evaluate(model, questions)


def measure(bench: Callable[[], tuple], share: float, depth: bool, plain: dict) -> dict:
    """One cell: cut, evaluate; repair, evaluate, time beside the dense model. Not twice where depth changes nothing."""
    model, texts, statistics, rankings, costs, questions, dense = bench()
    plan = allocate(rankings, Budget("flops", share), costs[depth])
    kept = {name: kept for name, (kept, _) in plan.counts.items()}
    if kept == plain.get("kept"):
        return {name: value for name, value in plain.items() if name not in ("split", "share", "depth", "seed")}
    cut = prune(model, plan, statistics)
    before = evaluate(cut, questions)
    small = repair(cut, model, texts, statistics=statistics)
    after = evaluate(small, questions)
    batch = example_batch(model.config, *costs[depth].shape)
    whole, part = (min(times) for times in time_rounds([model, small], batch, repeats=30))
    return {
        "flops": costs[depth].of(kept) / costs[depth].dense,
        "kept": kept,
        "predicted": plan.nats_lost,
        "kl_cut": mean_kl(dense.logits, before.logits),
        "kl": mean_kl(dense.logits, after.logits),
        "accuracy": after.metrics["accuracy"],
        "dense_accuracy": dense.metrics["accuracy"],
        "speedup": whole / part,
    }


def write_page(rows: list[dict]) -> None:
    """docs/depth.md from the cells."""
    lines = [
        "# Whole blocks",
        "",
        "A share of the dense model's FLOPs, divided among neurons and heads by the least loss in nats; `depth`: a",
        "site may also keep nothing, and its block is then left out. The rest is the same: 1,024 unlabelled",
        "calibration texts, compensation, repair, no training after the cut. MiniLM on short movie reviews; KL in",
        "nats; the speed-up is that of the fastest of 30 alternating runs at the texts' typical length.",
        "",
        "Made by `python -m experiments.depth`.",
        "",
    ]
    for split in SPLITS:
        cells = [row for row in rows if row["split"] == split]
        if cells:
            accuracy = fmean(row["dense_accuracy"] for row in cells)
            lines += [f"## {split.capitalize()} split (dense accuracy {accuracy:.2%})", "", *table(cells), ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def table(rows: list[dict]) -> list[str]:
    """A line for each share, with depth and without."""
    lines = [
        "| FLOPs | blocks | draws | accuracy | points lost (lowest to highest) | KL | of without depth | predicted "
        "| KL before repair | speed-up | blocks left out (attention, feed-forward of 6 each) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        for depth in (False, True):
            cells = [row for row in rows if (row["share"], row["depth"]) == (share, depth)]
            seeds = {row["seed"] for row in cells}
            plain = [r["kl"] for r in rows if (r["share"], r["depth"]) == (share, False) and r["seed"] in seeds]
            if cells:
                lines.append(line(share, "depth" if depth else "all stay", cells, fmean(plain)))
    return lines


def line(share: float, name: str, cells: list[dict], plain: float) -> str:
    """One line of the table, mean over draws."""
    lost = [100 * (c["dense_accuracy"] - c["accuracy"]) for c in cells]

    def mean(field: str) -> float:
        return fmean(c[field] for c in cells)

    gone = [
        sum(k == 0 for name, k in c["kept"].items() if name.endswith(kind)) for kind in ("heads", "ffn") for c in cells
    ]
    half = len(cells)
    return (
        f"| {share:.0%} | {name} | {len(cells)} | {mean('accuracy'):.2%} "
        f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean('kl'):.4f} | {mean('kl') / plain:.2f} "
        f"| {mean('predicted'):.4f} | {mean('kl_cut'):.4f} | {mean('speedup'):.2f}x "
        f"| {fmean(gone[:half]):.1f}, {fmean(gone[half:]):.1f} |"
    )


if __name__ == "__main__":
    main()
