"""Width: plans that plain transformers can open, with the residual stream cut, against not cutting it, at equal FLOPs.

Run: python -m experiments.width [--seeds 3] [--split test] [--plans uniform free whole]
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean

import torch

from experiments.cells import cell, console
from experiments.movie_reviews import calibration, dense_model, labelled
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.budgets.lagrange import Curve, least_loss
from infoprune.budgets.shape import uniform_shape
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import Rankings, rank
from infoprune.repair.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.sites import every_site
from infoprune.structure.stock import loads_in
from infoprune.surgery import prune
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "width.jsonl"
BOUNDS = ROOT / "experiments" / "results" / "width_bounds.jsonl"
BOUNDED = (352, 320, 288, 192)
PAGE = ROOT / "docs" / "width.md"
SHARES = (0.5, 0.25)
PLANS = {
    "uniform": "`--shape uniform`: width, heads and neurons as the losses say",
    "narrow": "the same, but the width is cut, by as much as the losses say",
    "288": "the same, but the width is 288 of 384",
    "free": "width, heads and neurons, every layer its own numbers",
    "whole": "heads and neurons alone, every layer its own numbers",
}
KINDS = {
    "uniform": ("heads", "ffn", "width", "pooler"),
    "narrow": ("heads", "ffn", "width", "pooler"),
    "288": ("heads", "ffn", "width", "pooler"),
    "free": ("heads", "ffn", "width"),
    "whole": ("heads", "ffn"),
}
WIDTHS = {"uniform": range(385), "narrow": range(384), "288": range(288, 289)}
"""Of the plans in a uniform shape."""


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="calibration draws")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--bounds", type=int, default=1, help="calibration draws for the bound of a width per layer")
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        bench = cache(partial(prepared, seed, options.split))
        for share in SHARES:
            for plan in options.plans:
                key = {"split": options.split, "share": share, "plan": plan, "seed": seed}
                rows.append(cell(RESULTS, key, partial(measure, bench, share, plan)))
    bounds = []
    for seed in range(options.bounds):
        bench = cache(partial(prepared, seed, options.split))
        bounds.append(cell(BOUNDS, {"seed": seed}, lambda bench=bench: bound(read_in_layers(bench()[2]))))
    write_page(rows, bounds, options.split)
    console.print(f"wrote {PAGE.name}")


def prepared(seed: int, split: str) -> tuple:
    """What all cells of a seed share: models, texts, one pass of statistics."""
    model, tokenizer = dense_model()
    texts = calibration(tokenizer, seed)
    statistics = collect(model, texts, sites=every_site(model), seed=seed)
    questions = labelled(tokenizer, model, split)
    return (
        model,
        texts,
        statistics,
        rank(statistics, ChannelInformation(), seed=seed),
        questions,
        evaluate(model, questions),
    )


def measure(bench: Callable[[], tuple], share: float, name: str) -> dict:
    """One cell: choose, cut, evaluate; repair, evaluate."""
    model, texts, statistics, rankings, questions, dense = bench()
    costs = find_costs(model, "flops", texts, kinds=KINDS[name])
    shape = None
    if name in WIDTHS:
        shape = uniform_shape(model, KINDS[name])
        shape = replace(shape, fixed=tuple(each for each in shape.fixed if each["width"] in WIDTHS[name]))
    plan = allocate(_among(rankings, KINDS[name]), Budget("flops", share), costs, shape)
    cut = prune(model, plan, statistics)
    before = evaluate(cut, questions)
    after = evaluate(repair(cut, model, texts, statistics=statistics), questions)
    return {
        "flops": costs.of({site: kept for site, (kept, _) in plan.counts.items()}) / costs.dense,
        "parameters": sum(p.numel() for p in cut.parameters()) / sum(p.numel() for p in model.parameters()),
        "kept": {site: kept for site, (kept, _) in plan.counts.items()},
        "loads_in": loads_in(every_site(model), plan.counts),
        "predicted": plan.nats_lost,
        "kl_cut": mean_kl(dense.logits, before.logits),
        "kl": mean_kl(dense.logits, after.logits),
        "accuracy": after.metrics["accuracy"],
        "dense_accuracy": dense.metrics["accuracy"],
    }


def bound(layers: list[list[SiteStatistics]]) -> dict:
    """Predicted nats of one set of coordinates for all layers, and of the best set for each layer, of as many in sum.

    The second is a bound: it lets every layer choose its own coordinates and its own number of them, which a residual
    connection does not, and the sets of layers that follow one another would have to be nested.
    """
    found = {}
    criterion, generator = ChannelInformation(), torch.Generator()
    together = criterion.rank_places([place for places in layers for place in places], generator).losses
    alone = [criterion.rank_places(places, generator).losses for places in layers]
    widest = len(together)
    sizes = range(8, widest + 1, 8)
    curves = [Curve(list(sizes), [float(losses[: widest - size].sum()) for size in sizes]) for losses in alone]
    for width in BOUNDED:
        same = sum(float(losses[: widest - width].sum()) for losses in alone)
        chosen = least_loss(curves, len(layers) * width) or []
        best = sum(curve.losses[index] for curve, index in zip(curves, chosen, strict=True))
        kept = [sizes[index] for index in chosen]
        shared = float(together[: widest - width].sum())
        found[str(width)] = {"shared": shared, "own_sets": same, "own_sets_and_sizes": best, "sizes": kept}
    return found


def read_in_layers(statistics: Statistics) -> list[list[SiteStatistics]]:
    """The places that read the stream, by layer."""
    found: dict[str, list[SiteStatistics]] = {}
    for name, each in statistics.sites.items():
        if each.site.kind == "width" and name != "layers.top.width":
            found.setdefault(name.partition(".width")[0], []).append(each)
    return list(found.values())


def _among(rankings: Rankings, kinds: tuple[str, ...]) -> Rankings:
    return replace(rankings, sites={name: each for name, each in rankings.sites.items() if each.site.kind in kinds})


def write_page(rows: list[dict], bounds: list[dict], split: str) -> None:
    """docs/width.md from the cells."""
    lines = [
        "# Width: a narrower residual stream",
        "",
        "`--sites ffn,heads,width` cuts coordinates of the residual stream as well: embeddings, norms, rows of every",
        "output projection, columns of all that reads it. With `--shape uniform` the sizes are those that a stock",
        "config can say, so that plain `from_pretrained` opens the result: for BERT-likes as many heads in all layers,",
        "and a width of so many head sizes.",
        "",
        f"MiniLM on movie reviews, {split} split: 1,024 unlabelled calibration texts, sizes by the least loss in nats",
        "within a share of the dense model's FLOPs, compensation, repair, no training.",
        "Made by `python -m experiments.width`.",
        "",
        "| FLOPs | cut | draws | accuracy | points lost (lowest to highest) | KL (nats) | KL before repair | predicted "
        "| parameters | width | loads in |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        for name, words in PLANS.items():
            cells = [row for row in rows if row["share"] == share and row["plan"] == name]
            lines += [_line(share, words, cells)] if cells else []
    lines += [
        "",
        "Heads and neurons alone, every layer its own numbers, lose less at equal FLOPs ([budgets](budgets.md)), and",
        "load in infoprune only. What a narrower stream buys is plain loading and fewer parameters.",
        "",
        *_bounds(bounds),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(share: float, words: str, cells: list[dict]) -> str:
    lost = [100 * (each["dense_accuracy"] - each["accuracy"]) for each in cells]
    names = ("accuracy", "kl", "kl_cut", "predicted", "parameters")
    mean = {name: fmean(each[name] for each in cells) for name in names}
    widths = " or ".join(map(str, sorted({each["kept"].get("width", 384) for each in cells})))
    return (
        f"| {share:.0%} | {words} | {len(cells)} | {mean['accuracy']:.2%} "
        f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean['kl']:.4f} | {mean['kl_cut']:.4f} "
        f"| {mean['predicted']:.4f} | {mean['parameters']:.0%} | {widths} | {cells[0]['loads_in']} |"
    )


def _bounds(bounds: list[dict]) -> list[str]:
    lines = [
        "## A set of coordinates for every layer",
        "",
        "Not built: all layers share one set. What it could bring is bounded by the losses alone, before any repair:",
        "predicted nats of one set for all layers, of the best set for each layer by itself, and of such sets with the",
        "best sizes, which add up to as many coordinates. The last would have to be nested to be a residual stream,",
        "but their sizes fall from layer to layer by themselves, as nesting wants it.",
        "",
        "| coordinates of 384 | one set | a set for each layer | and sizes of their own | these sizes, bottom to top |",
        "|---|---|---|---|---|",
    ]
    for width in map(str, BOUNDED):
        cells = [each[width] for each in bounds]
        mean = [fmean(cell[name] for cell in cells) for name in ("shared", "own_sets", "own_sets_and_sizes")]
        numbers = " | ".join(f"{number:.4f}" for number in mean)
        lines.append(f"| {width} | {numbers} | {', '.join(map(str, cells[0]['sizes']))} |")
    return lines


if __name__ == "__main__":
    main()
