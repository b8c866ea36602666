"""Hidden size: one for the model or one per layer, against cutting heads and neurons alone, at equal FLOPs.

Run: python -m experiments.hidden_size [--seeds 3] [--split test] [--shares 0.5 0.25] [--plans uniform shared layered]
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean

from experiments.cells import OLDER_REPAIR, cell, cells, console
from experiments.movie_reviews import calibration, dense_model, labelled
from infoprune.budgets.allocate import UNREPAIRED, allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.budgets.shape import uniform_shape
from infoprune.measuring.measure import example_batch, time_rounds
from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import Rankings, rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import every_site, find_sites
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "hidden_size.jsonl"
PAGE = ROOT / "docs" / "research/hidden-size.md"
SHARES = (0.5, 0.25)
PLANS = {
    "uniform": "`--shape uniform`: hidden size, heads and neurons by the losses",
    "narrow": "the same, but the hidden size is always reduced, by the losses",
    "shared": "one hidden size; heads and neurons free in every layer",
    "layered": "one hidden size per layer (`hidden-size-per-layer`); heads and neurons free in every layer",
    "whole": "heads and neurons only, free in every layer",
}
STRUCTURES = {
    "uniform": ("heads", "ffn", HIDDEN_SIZE, "pooler"),
    "narrow": ("heads", "ffn", HIDDEN_SIZE, "pooler"),
    "shared": ("heads", "ffn", HIDDEN_SIZE),
    "layered": ("heads", "ffn", HIDDEN_SIZE_PER_LAYER),
    "whole": ("heads", "ffn"),
}
SHAPES = {f"{heads} heads": 32 * heads for heads in (12, 11, 10, 9, 8, 7)}
"""Uniform shapes with these numbers of heads, and their hidden size: the factor on its losses is measured on them."""

HIDDEN_SIZES = {"uniform": range(385), "narrow": range(384)} | {
    name: (hidden_size,) for name, hidden_size in SHAPES.items()
}
"""Hidden sizes that are allowed in the plans with a uniform shape."""


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of calibration seeds")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="shares of the FLOPs")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=[*PLANS, *SHAPES])
    options = parser.parse_args()
    for seed in range(options.seeds):
        bench = cache(partial(prepared, seed, options.split))
        for plan in options.plans:
            for share in options.shares:
                key = {"split": options.split, "share": share, "plan": plan, "seed": seed}
                cell(RESULTS, key, partial(measure, bench, share, plan))
    write_page(cells(RESULTS), options.split)
    console.print(f"wrote {PAGE.name}")


def prepared(seed: int, split: str, *, layered: bool) -> tuple:
    """Return what the cells of a seed share: models, texts, one pass of statistics."""
    model, tokenizer = dense_model()
    texts = calibration(tokenizer, seed)
    sites = find_sites(model, STRUCTURES["layered"]) if layered else every_site(model)
    statistics = collect(model, texts, sites=sites, seed=seed)
    rankings = rank(statistics, ChannelInformation(), seed=seed)
    eval_batches = labelled(tokenizer, model, split)
    return model, texts, statistics, rankings, eval_batches, evaluate(model, eval_batches)


def measure(bench: Callable[[], tuple], share: float, name: str) -> dict:
    """Compute one cell: choose, cut, evaluate; repair, evaluate."""
    model, texts, statistics, rankings, eval_batches, dense = bench(layered=name == "layered")
    structures = STRUCTURES["uniform" if name in HIDDEN_SIZES else name]
    costs = find_costs(model, "flops", texts, structures=structures)
    shape = None
    if name in HIDDEN_SIZES:
        shape = uniform_shape(model, structures)
        shape = replace(shape, fixed=tuple(each for each in shape.fixed if each["hidden-size"] in HIDDEN_SIZES[name]))
    plan = allocate(_among(rankings, structures), Budget("flops", share), costs, shape)
    cut = apply_plan(model, plan, statistics)
    before = evaluate(cut, eval_batches)
    after = evaluate(repair(cut, model, texts, statistics=statistics), eval_batches)
    batch = example_batch(model.config, 32, costs.shape[1])
    whole, part = (min(times) for times in time_rounds([model, cut], batch, repeats=20))
    return {
        "flops": costs.of({site: kept for site, (kept, _) in plan.counts.items()}) / costs.dense,
        "parameters": sum(p.numel() for p in cut.parameters()) / sum(p.numel() for p in model.parameters()),
        "kept": {site: kept for site, (kept, _) in plan.counts.items()},
        "loads_in": loads_in(every_site(model), plan.counts),
        "predicted": plan.nats_lost,
        "counted": plan.nats_lost - (1 - UNREPAIRED) * _lost(rankings, plan.kept) if shape else plan.nats_lost,
        "kl_cut": mean_kl(dense.logits, before.logits),
        "kl": mean_kl(dense.logits, after.logits),
        "accuracy": after.metrics["accuracy"],
        "dense_accuracy": dense.metrics["accuracy"],
        "speedup": whole / part,
    }


def _lost(rankings: Rankings, kept: Mapping[str, tuple[int, ...]]) -> float:
    """Return the predicted loss of the hidden size alone, in nats."""
    return float(rankings.sites[HIDDEN_SIZE].lost[len(kept[HIDDEN_SIZE])])


def _among(rankings: Rankings, structures: tuple[str, ...]) -> Rankings:
    return replace(
        rankings, sites={name: each for name, each in rankings.sites.items() if each.site.structure in structures}
    )


def write_page(every: list[dict], split: str) -> None:
    """Write docs/research/hidden-size.md from the cells."""
    rows = [row for row in every if row["split"] == split]
    lines = [
        "# Hidden size: a smaller residual stream",
        "",
        "`--structures ffn,heads,hidden-size` cuts coordinates of the residual stream as well: columns of the",
        "embeddings, entries of the norms, rows of every output projection, and columns of every module that reads the",
        "stream. With `--shape uniform` the sizes are restricted to those that a stock config can express, so that",
        "plain `from_pretrained` opens the result. For BERT-like models this means the same number of heads in all",
        "layers, and a hidden size of this number times the head size.",
        "",
        "`--structures ffn,heads,hidden-size-per-layer` allows every layer fewer coordinates than the layer below it.",
        "Coordinates that no layer above reads are dropped on the way up, and the residual connection is an index.",
        "Such a model opens after `import infoprune`, like models whose layers differ in their numbers of heads or",
        "neurons (`infoprune` in the last column); `transformers` there needs no import.",
        "",
        f"MiniLM on movie reviews, {split} split: 1,024 unlabelled calibration texts, sizes by the least loss in nats",
        "within a share of the dense model's FLOPs, compensation, repair, no training. The speed-up is that of the",
        "fastest of 20 alternating runs of 32 texts of the typical length.",
        "Made by `python -m experiments.hidden_size`; only cells that have been computed are shown.",
        "",
        *OLDER_REPAIR[:-1],
        "",
        "| FLOPs | cut | seeds | accuracy | points lost (lowest to highest) | KL (nats) | KL before repair | predicted "
        "| parameters | speed-up | hidden sizes, bottom to top (one seed) | opened by |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        for name, words in PLANS.items():
            found = [row for row in rows if row["share"] == share and row["plan"] == name]
            lines += [_line(share, words, found)] if found else []
    lines += ["", *_comparisons(rows), *_shapes([row for row in every if row["split"] == "validation"])]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(share: float, words: str, cells: list[dict]) -> str:
    lost = [100 * (each["dense_accuracy"] - each["accuracy"]) for each in cells]
    names = ("accuracy", "kl", "kl_cut", "predicted", "parameters", "speedup")
    mean = {name: fmean(each[name] for each in cells) for name in names}
    hidden_sizes = [kept for site, kept in cells[0]["kept"].items() if site.endswith(HIDDEN_SIZE)] or [384]
    return (
        f"| {share:.0%} | {words} | {len(cells)} | {mean['accuracy']:.2%} "
        f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean['kl']:.4f} | {mean['kl_cut']:.4f} "
        f"| {mean['predicted']:.4f} | {mean['parameters']:.0%} | {mean['speedup']:.2f}x "
        f"| {', '.join(map(str, hidden_sizes))} | {cells[0]['loads_in']} |"
    )


def _shapes(rows: list[dict]) -> list[str]:
    """Return the losses of uniform shapes with other hidden sizes."""
    lines = [
        "",
        "## How much loss of the hidden size remains after the repair",
        "",
        "Uniform shapes side by side, validation split. The predicted loss of a smaller hidden size is larger than the",
        "loss after the repair, which re-fits all readers of the stream at once. For neurons the predicted loss is",
        f"smaller. So among uniform shapes the loss of the hidden size is multiplied by {UNREPAIRED:.2f}. The shapes",
        "are chosen by the result, the column *counted*.",
        "",
        "| FLOPs | heads | hidden size | neurons per layer | predicted | counted | KL (nats) | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        for name, hidden_size in SHAPES.items():
            found = [row for row in rows if (row["share"], row["plan"]) == (share, name)]
            if found:
                kl, predicted, counted = (fmean(row[key] for row in found) for key in ("kl", "predicted", "counted"))
                neurons = next(kept for site, kept in found[0]["kept"].items() if site.endswith("ffn"))
                lines.append(
                    f"| {share:.0%} | {name.split()[0]} | {hidden_size} | {neurons} | {predicted:.4f} | {counted:.4f} "
                    f"| {kl:.4f} | {len(found)} |"
                )
    return lines


def _comparisons(rows: list[dict]) -> list[str]:
    """Return sentences that compare one hidden size per layer with one for the model and with none, seed by seed."""
    lines = []
    for share in SHARES:
        kl = {(row["plan"], row["seed"]): row["kl"] for row in rows if row["share"] == share}
        for other, words in (("shared", "one hidden size for all layers"), ("whole", "heads and neurons only")):
            pairs = [(own, kl.get((other, seed))) for (plan, seed), own in kl.items() if plan == "layered"]
            ratios = [own / base for own, base in pairs if base is not None]
            if ratios:
                lines += [
                    f"At {share:.0%} of the FLOPs the KL with one hidden size per layer is {fmean(ratios):.2f} times",
                    f"the KL with {words} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} seed(s)).",
                ]
    same = all(
        row["kept"] == {**other["kept"], HIDDEN_SIZE: row["kept"][HIDDEN_SIZE]} and row["kept"][HIDDEN_SIZE] == 384
        for row in rows
        for other in rows
        if (row["plan"], other["plan"]) == ("shared", "whole")
        and (row["share"], row["seed"]) == (other["share"], other["seed"])
    )
    if same:
        lines += ["With one hidden size for all layers the losses keep all of it, so the plans do not change."]
    return lines


if __name__ == "__main__":
    main()
