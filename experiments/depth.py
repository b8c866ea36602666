"""Whole blocks: does a budget that may leave blocks out lose less than one that leaves something of each?

Movie reviews. `--only plans` divides many budgets and looks at what is predicted, without making any model; then some
are made, on validation and on test. Run: python -m experiments.depth [--seeds 3] [--only plans]
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
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
BUDGETS = (("flops", 0.25), ("flops", 0.2), ("flops", 0.1), ("flops", 0.05), ("latency", 0.2), ("latency", 0.12))
MORE = (("flops", 0.03), ("latency", 0.15), ("latency", 0.1))
SPLITS = ("plans", "validation", "test")
FIGURES = ("flops", "kept", "predicted", "kl_cut", "kl", "accuracy", "dense_accuracy", "speedup")


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
            for quantity, share in BUDGETS + (MORE if split == "plans" else ()):
                plain: dict = {}
                for depth in (False, True):
                    key = {"split": split, "quantity": quantity, "share": share, "depth": depth, "seed": seed}
                    plain = cell(RESULTS, key, partial(measure, bench, Budget(quantity, share, depth=depth), plain))
    if options.only is None:
        write_page([json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()])
        console.print(f"wrote {PAGE.name}")


def prepared(seed: int, split: str) -> tuple:
    """What all cells of a draw and a split share."""
    model, tokenizer = TASK.dense_model()
    texts = TASK.calibration(tokenizer, seed)
    statistics = collect(model, texts, seed=seed)
    rankings = rank(statistics, ChannelInformation(), seed=seed)
    costs = {q: find_costs(model, q, texts, multiple=8, depth=True) for q in ("flops", "latency")}
    if split == "plans":
        return model, texts, statistics, rankings, costs, None, None
    questions = TASK.labelled(tokenizer, model, split)
    return model, texts, statistics, rankings, costs, questions, evaluate(model, questions)


def measure(bench: Callable[[], tuple], budget: Budget, plain: dict) -> dict:
    """One cell: cut, evaluate; repair, evaluate, time beside the dense model. Not twice where depth changes nothing."""
    model, texts, statistics, rankings, tables, questions, dense = bench()
    costs = tables[budget.quantity]
    if not budget.depth:  # the same table of costs, and every site keeps something
        costs = replace(costs, sizes={name: sizes[1:] for name, sizes in costs.sizes.items()})
    if costs.least > budget.amount * costs.dense:
        return {"impossible": True}
    plan = allocate(rankings, budget, costs)
    kept = {name: kept for name, (kept, _) in plan.counts.items()}
    if kept == plain.get("kept"):
        return {name: plain[name] for name in FIGURES if name in plain}
    flops = tables["flops"].of(kept) / tables["flops"].dense
    if questions is None:
        return {"flops": flops, "kept": kept, "predicted": plan.nats_lost}
    cut = prune(model, plan, statistics)
    before = evaluate(cut, questions)
    small = repair(cut, model, texts, statistics=statistics)
    after = evaluate(small, questions)
    batch = example_batch(model.config, *costs.shape)
    whole, part = (min(times) for times in time_rounds([model, small], batch, repeats=30))
    figures = (
        flops,
        kept,
        plan.nats_lost,
        mean_kl(dense.logits, before.logits),
        mean_kl(dense.logits, after.logits),
        after.metrics["accuracy"],
        dense.metrics["accuracy"],
        whole / part,
    )
    return dict(zip(FIGURES, figures, strict=True))


def write_page(rows: list[dict]) -> None:
    """docs/depth.md from the cells."""
    lines = [
        "# Whole blocks",
        "",
        "A share of the dense model's FLOPs, or of its measured latency, divided among neurons and heads by the least",
        "loss in nats; `depth`: a site may also keep nothing, and its block is then left out. The rest is the same:",
        "1,024 unlabelled calibration texts, compensation, repair, no training after the cut. MiniLM on short movie",
        "reviews; KL in nats; the speed-up is that of the fastest of 30 alternating runs at the texts' typical length.",
        "",
        "Made by `python -m experiments.depth`.",
        "",
    ]
    lines += [
        "The losses of a site are convex: its last units are the dearest. In FLOPs a block costs next to nothing but",
        "its units, so down to 5 % of the FLOPs the plans with depth and without are the same: there it buys nothing.",
        "In time a block costs something before its first unit. There less loss is predicted with depth, and budgets",
        "can be met that otherwise cannot; whether the models bear that out is measured where the tables below have",
        "lines of latency, and only there. So `--depth` is an option, for small budgets of latency. The table of times",
        "was measured while other work ran on the machine. Where the plans are equal the model is not made twice.",
        "",
    ]
    lines += ["## Plans", "", *plans([row for row in rows if row["split"] == "plans"]), ""]
    for split in SPLITS[1:]:
        cells = [row for row in rows if row["split"] == split and "kl" in row]
        if cells:
            accuracy = fmean(row["dense_accuracy"] for row in cells)
            lines += [f"## {split.capitalize()} split (dense accuracy {accuracy:.2%})", "", *table(cells), ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def plans(rows: list[dict]) -> list[str]:
    """A line for each budget: what is predicted with depth and without."""
    lines = [
        "What is predicted, for many budgets, before any model is made.",
        "",
        "| budget | draws | FLOPs, all stay | FLOPs, depth | predicted nats, all stay | depth "
        "| blocks left out (attention, feed-forward of 6 each) |",
        "|---|---|---|---|---|---|---|",
    ]
    for quantity, share in BUDGETS + MORE:
        some = [row for row in rows if (row["quantity"], row["share"]) == (quantity, share)]
        plain, deep = ([row for row in some if row["depth"] == depth and "kept" in row] for depth in (False, True))
        if deep:
            figures = " | ".join(
                spell.format(fmean(row[field] for row in cells)) if len(cells) == len(deep) else "cannot be met"
                for field, spell in (("flops", "{:.1%}"), ("predicted", "{:.4f}"))
                for cells in (plain, deep)
            )
            gone = ", ".join(f"{fmean(left_out(row, kind) for row in deep):.1f}" for kind in ("heads", "ffn"))
            lines.append(f"| {quantity} {share:.0%} | {len(deep)} | {figures} | {gone} |")
    return lines


def left_out(row: dict, kind: str) -> int:
    """How many blocks of a kind a plan leaves out."""
    return sum(kept == 0 for name, kept in row["kept"].items() if name.endswith(kind))


def table(rows: list[dict]) -> list[str]:
    """A line for each share, with depth and without."""
    lines = [
        "| budget | FLOPs | blocks | draws | accuracy | points lost (lowest to highest) | KL | of without depth "
        "| predicted | KL before repair | speed-up | blocks left out (attention, feed-forward of 6 each) |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for quantity, share in BUDGETS:
        some = [row for row in rows if (row["quantity"], row["share"]) == (quantity, share)]
        for depth in (False, True):
            cells = [row for row in some if row["depth"] == depth]
            seeds = {row["seed"] for row in cells}
            plain = [row["kl"] for row in some if not row["depth"] and row["seed"] in seeds]
            if cells:
                lines.append(line(f"{quantity} {share:.0%}", "depth" if depth else "all stay", cells, plain))
    return lines


def line(budget: str, name: str, cells: list[dict], plain: list[float]) -> str:
    """One line of the table, mean over draws."""
    lost = [100 * (c["dense_accuracy"] - c["accuracy"]) for c in cells]

    def mean(field: str) -> float:
        return fmean(c[field] for c in cells)

    gone = ", ".join(f"{fmean(left_out(cell, kind) for cell in cells):.1f}" for kind in ("heads", "ffn"))
    ratio = f"{mean('kl') / fmean(plain):.2f}" if plain else ""
    return (
        f"| {budget} | {mean('flops'):.1%} | {name} | {len(cells)} | {mean('accuracy'):.2%} "
        f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean('kl'):.4f} | {ratio} "
        f"| {mean('predicted'):.4f} | {mean('kl_cut'):.4f} | {mean('speedup'):.2f}x "
        f"| {gone} |"
    )


if __name__ == "__main__":
    main()
