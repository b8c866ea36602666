"""Whole blocks: does a budget that may remove blocks lose less than one that keeps some units of every block?

Movie reviews. `--only plans` allocates many budgets and reports the predicted losses, without pruning any model; some
budgets are then measured, on validation and on test. Run: python -m experiments.depth [--seeds 3] [--only plans]
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
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "depth.jsonl"
PAGE = ROOT / "docs" / "research/depth.md"
BUDGETS = (("flops", 0.25), ("flops", 0.2), ("flops", 0.1), ("flops", 0.05), ("latency", 0.2), ("latency", 0.12))
MORE = (("flops", 0.03), ("latency", 0.15), ("latency", 0.1))
SPLITS = ("plans", "validation", "test")
FIGURES = ("flops", "kept", "predicted", "kl_cut", "kl", "accuracy", "dense_accuracy", "speedup")


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of calibration seeds")
    parser.add_argument("--only", choices=SPLITS, help="compute the cells of one split, write no page")
    parser.add_argument("--page", action="store_true", help="write the page from the stored cells alone")
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
    """Return what all cells of a seed and a split share."""
    model, tokenizer = TASK.dense_model()
    texts = TASK.calibration(tokenizer, seed)
    statistics = collect(model, texts, seed=seed)
    rankings = rank(statistics, ChannelInformation(), seed=seed)
    costs = {q: find_costs(model, q, texts, multiple=8, depth=True) for q in ("flops", "latency")}
    if split == "plans":
        return model, texts, statistics, rankings, costs, None, None
    eval_batches = TASK.labelled(tokenizer, model, split)
    return model, texts, statistics, rankings, costs, eval_batches, evaluate(model, eval_batches)


def measure(bench: Callable[[], tuple], budget: Budget, plain: dict) -> dict:
    """Compute one cell: cut, evaluate; repair, evaluate, time. Plans that depth does not change are measured once."""
    model, texts, statistics, rankings, tables, eval_batches, dense = bench()
    costs = tables[budget.quantity]
    if not budget.depth:  # the same table of costs, but every site keeps at least one unit
        costs = replace(costs, sizes={name: sizes[1:] for name, sizes in costs.sizes.items()})
    if costs.least > budget.amount * costs.dense:
        return {"impossible": True}
    plan = allocate(rankings, budget, costs)
    kept = {name: kept for name, (kept, _) in plan.counts.items()}
    if kept == plain.get("kept"):
        return {name: plain[name] for name in FIGURES if name in plain}
    flops = tables["flops"].of(kept) / tables["flops"].dense
    if eval_batches is None:
        return {"flops": flops, "kept": kept, "predicted": plan.nats_lost}
    cut = apply_plan(model, plan, statistics)
    before = evaluate(cut, eval_batches)
    small = repair(cut, model, texts, statistics=statistics)
    after = evaluate(small, eval_batches)
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
    """Write docs/research/depth.md from the cells."""
    lines = [
        "# Whole blocks",
        "",
        "A budget is a share of the dense model's FLOPs or of its measured latency. It is divided among neurons and",
        "heads by the least loss in nats. With `depth` a site may also keep nothing, and its block is then removed.",
        "Everything else is the same: 1,024 unlabelled calibration texts, compensation, repair, no training after the",
        "cut. MiniLM on short movie reviews; KL in nats; the speed-up is that of the fastest of 30 alternating runs at",
        "the typical length of the texts.",
        "",
        "Made by `python -m experiments.depth`.",
        "",
    ]
    lines += [
        "The loss of a site is a convex function of its removed units: the last units cost the most. In FLOPs a block",
        "has almost no fixed cost beside its units, so down to 5 % of the FLOPs the plans with and without depth are",
        "the same, and depth improves nothing. In time a block has a fixed cost before its first unit. For latency",
        "budgets the predicted loss with depth is therefore smaller, and budgets can be met that cannot be met",
        "otherwise. Whether the models confirm this is measured only where the tables below have lines of latency. So",
        "`--depth` is an option, for small latency budgets. The table of times was measured while other work ran on",
        "the machine. Where two plans are equal, the model is measured once.",
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
    """Return a line for each budget: the predicted loss with and without depth."""
    lines = [
        "Predictions for many budgets, before any model is pruned.",
        "",
        "| budget | seeds | FLOPs, all blocks kept | FLOPs, depth | predicted, all blocks kept | predicted, depth "
        "| removed blocks (attention, feed-forward, of 6 each) |",
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
            gone = ", ".join(f"{fmean(left_out(row, structure) for row in deep):.1f}" for structure in ("heads", "ffn"))
            lines.append(f"| {quantity} {share:.0%} | {len(deep)} | {figures} | {gone} |")
    return lines


def left_out(row: dict, structure: str) -> int:
    """Return how many blocks of a type a plan removes."""
    return sum(kept == 0 for name, kept in row["kept"].items() if name.endswith(structure))


def table(rows: list[dict]) -> list[str]:
    """Return a line for each share, with and without depth."""
    lines = [
        "| budget | FLOPs | blocks | seeds | accuracy | points lost (lowest to highest) | KL | relative to no depth "
        "| predicted | KL before repair | speed-up | removed blocks (attention, feed-forward, of 6 each) |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for quantity, share in BUDGETS:
        some = [row for row in rows if (row["quantity"], row["share"]) == (quantity, share)]
        for depth in (False, True):
            cells = [row for row in some if row["depth"] == depth]
            seeds = {row["seed"] for row in cells}
            plain = [row["kl"] for row in some if not row["depth"] and row["seed"] in seeds]
            if cells:
                lines.append(line(f"{quantity} {share:.0%}", "depth" if depth else "all kept", cells, plain))
    return lines


def line(budget: str, name: str, cells: list[dict], plain: list[float]) -> str:
    """Return one line of the table, with means over the seeds."""
    lost = [100 * (c["dense_accuracy"] - c["accuracy"]) for c in cells]

    def mean(field: str) -> float:
        return fmean(c[field] for c in cells)

    gone = ", ".join(f"{fmean(left_out(cell, structure) for cell in cells):.1f}" for structure in ("heads", "ffn"))
    ratio = f"{mean('kl') / fmean(plain):.2f}" if plain else ""
    return (
        f"| {budget} | {mean('flops'):.1%} | {name} | {len(cells)} | {mean('accuracy'):.2%} "
        f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean('kl'):.4f} | {ratio} "
        f"| {mean('predicted'):.4f} | {mean('kl_cut'):.4f} | {mean('speedup'):.2f}x "
        f"| {gone} |"
    )


if __name__ == "__main__":
    main()
