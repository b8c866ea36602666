"""Width: the residual stream cut as one, or with a width for every layer, against not cutting it, at equal FLOPs.

Run: python -m experiments.width [--seeds 3] [--split test] [--shares 0.5 0.25] [--plans uniform shared layered whole]
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
from infoprune.plan import LAYER_WIDTH, WIDTH
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import Rankings, rank
from infoprune.repair.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import every_site, find_sites
from infoprune.structure.stock import loads_in
from infoprune.surgery import prune
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "width.jsonl"
PAGE = ROOT / "docs" / "width.md"
SHARES = (0.5, 0.25)
PLANS = {
    "uniform": "`--shape uniform`: width, heads and neurons as the losses say",
    "narrow": "the same, but the width is cut, by as much as the losses say",
    "shared": "one width, heads and neurons, every layer its own numbers",
    "layered": "a width for every layer (`layer-width`), heads and neurons",
    "whole": "heads and neurons alone, every layer its own numbers",
}
KINDS = {
    "uniform": ("heads", "ffn", WIDTH, "pooler"),
    "narrow": ("heads", "ffn", WIDTH, "pooler"),
    "shared": ("heads", "ffn", WIDTH),
    "layered": ("heads", "ffn", LAYER_WIDTH),
    "whole": ("heads", "ffn"),
}
SHAPES = {f"{heads} heads": 32 * heads for heads in (12, 11, 10, 9, 8, 7)}
"""Uniform shapes of so many heads, and their width: what the factor on the width's losses is measured on."""

WIDTHS = {"uniform": range(385), "narrow": range(384)} | {name: (width,) for name, width in SHAPES.items()}
"""Of the plans in a uniform shape."""


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="calibration draws")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of the FLOPs")
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
    """What the cells of a seed share: models, texts, one pass of statistics."""
    model, tokenizer = dense_model()
    texts = calibration(tokenizer, seed)
    sites = find_sites(model, KINDS["layered"]) if layered else every_site(model)
    statistics = collect(model, texts, sites=sites, seed=seed)
    rankings = rank(statistics, ChannelInformation(), seed=seed)
    questions = labelled(tokenizer, model, split)
    return model, texts, statistics, rankings, questions, evaluate(model, questions)


def measure(bench: Callable[[], tuple], share: float, name: str) -> dict:
    """One cell: choose, cut, evaluate; repair, evaluate."""
    model, texts, statistics, rankings, questions, dense = bench(layered=name == "layered")
    kinds = KINDS["uniform" if name in WIDTHS else name]
    costs = find_costs(model, "flops", texts, kinds=kinds)
    shape = None
    if name in WIDTHS:
        shape = uniform_shape(model, kinds)
        shape = replace(shape, fixed=tuple(each for each in shape.fixed if each["width"] in WIDTHS[name]))
    plan = allocate(_among(rankings, kinds), Budget("flops", share), costs, shape)
    cut = prune(model, plan, statistics)
    before = evaluate(cut, questions)
    after = evaluate(repair(cut, model, texts, statistics=statistics), questions)
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
    """Nats of the width alone."""
    return float(rankings.sites[WIDTH].lost[len(kept[WIDTH])])


def _among(rankings: Rankings, kinds: tuple[str, ...]) -> Rankings:
    return replace(rankings, sites={name: each for name, each in rankings.sites.items() if each.site.kind in kinds})


def write_page(every: list[dict], split: str) -> None:
    """docs/width.md from the cells."""
    rows = [row for row in every if row["split"] == split]
    lines = [
        "# Width: a narrower residual stream",
        "",
        "`--sites ffn,heads,width` cuts coordinates of the residual stream as well: embeddings, norms, rows of every",
        "output projection, columns of all that reads it. With `--shape uniform` the sizes are those that a stock",
        "config can say, so that plain `from_pretrained` opens the result: for BERT-likes as many heads in all layers,",
        "and a width of so many head sizes.",
        "",
        "`--sites ffn,heads,layer-width` lets every layer go on with fewer coordinates than the one below it: what",
        "no layer above will read is dropped on the way up, and the residual connection stays an index. Such a model",
        "loads in infoprune, as does one whose layers differ in their numbers of heads or neurons.",
        "",
        f"MiniLM on movie reviews, {split} split: 1,024 unlabelled calibration texts, sizes by the least loss in nats",
        "within a share of the dense model's FLOPs, compensation, repair, no training. The speed-up is that of the",
        "fastest of 20 alternating runs of 32 texts of the typical length.",
        "Made by `python -m experiments.width`; only cells that have been computed are shown.",
        "",
        *OLDER_REPAIR[:-1],
        "",
        "| FLOPs | cut | draws | accuracy | points lost (lowest to highest) | KL (nats) | KL before repair | predicted "
        "| parameters | speed-up | widths, bottom to top (one draw) | loads in |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        for name, words in PLANS.items():
            found = [row for row in rows if row["share"] == share and row["plan"] == name]
            lines += [_line(share, words, found)] if found else []
    lines += ["", *_said(rows), *_shapes([row for row in every if row["split"] == "validation"])]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(share: float, words: str, cells: list[dict]) -> str:
    lost = [100 * (each["dense_accuracy"] - each["accuracy"]) for each in cells]
    names = ("accuracy", "kl", "kl_cut", "predicted", "parameters", "speedup")
    mean = {name: fmean(each[name] for each in cells) for name in names}
    widths = [kept for site, kept in cells[0]["kept"].items() if site.endswith(WIDTH)] or [384]
    return (
        f"| {share:.0%} | {words} | {len(cells)} | {mean['accuracy']:.2%} "
        f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean['kl']:.4f} | {mean['kl_cut']:.4f} "
        f"| {mean['predicted']:.4f} | {mean['parameters']:.0%} | {mean['speedup']:.2f}x "
        f"| {', '.join(map(str, widths))} | {cells[0]['loads_in']} |"
    )


def _shapes(rows: list[dict]) -> list[str]:
    """What uniform shapes of other widths lose."""
    lines = [
        "",
        "## How much of the width's loss is left after the repair",
        "",
        "Uniform shapes side by side, validation split. What a narrower stream is predicted to lose is more than it",
        "loses after the repair, which re-fits all readers of the stream at once; with neurons it is the other way",
        f"round. So among uniform shapes the width's nats count by {UNREPAIRED:.2f}: the column *counted*, by which",
        "they are chosen.",
        "",
        "| FLOPs | heads | width | neurons a layer | predicted | counted | KL (nats) | draws |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        for name, width in SHAPES.items():
            found = [row for row in rows if (row["share"], row["plan"]) == (share, name)]
            if found:
                kl, predicted, counted = (fmean(row[key] for row in found) for key in ("kl", "predicted", "counted"))
                neurons = next(kept for site, kept in found[0]["kept"].items() if site.endswith("ffn"))
                lines.append(
                    f"| {share:.0%} | {name.split()[0]} | {width} | {neurons} | {predicted:.4f} | {counted:.4f} "
                    f"| {kl:.4f} | {len(found)} |"
                )
    return lines


def _said(rows: list[dict]) -> list[str]:
    """In words, what a width for every layer gains over one for all and over none, draw by draw."""
    lines = []
    for share in SHARES:
        kl = {(row["plan"], row["seed"]): row["kl"] for row in rows if row["share"] == share}
        for other, words in (("shared", "one width for all layers"), ("whole", "heads and neurons alone")):
            pairs = [(own, kl.get((other, seed))) for (plan, seed), own in kl.items() if plan == "layered"]
            ratios = [own / base for own, base in pairs if base is not None]
            if ratios:
                lines += [
                    f"At {share:.0%} of the FLOPs the KL with a width for every layer is {fmean(ratios):.2f} times",
                    f"that of {words} ({min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} draw(s)).",
                ]
    same = all(
        row["kept"] == {**other["kept"], WIDTH: row["kept"][WIDTH]} and row["kept"][WIDTH] == 384
        for row in rows
        for other in rows
        if (row["plan"], other["plan"]) == ("shared", "whole")
        and (row["share"], row["seed"]) == (other["share"], other["seed"])
    )
    if same:
        lines += ["With one width for all layers the losses say to keep all of it: its plans are those of none."]
    return lines


if __name__ == "__main__":
    main()
