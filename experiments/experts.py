"""Experts, or neurons inside them, removed from a small model: KL on held-out texts, against other criteria.

Run: python -m experiments.experts [--keep 0.75 0.5] [--seeds 0 1 2] [--split test]
(the model is trained once, some minutes on two cores; cells already computed are kept)
"""

import argparse
from functools import cache, partial
from pathlib import Path
from statistics import fmean

import torch

from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.task import Batches
from experiments.tiny_experts import KINDS, LENGTH, batches, dense_model, pieces
from infoprune.budgets.budget import Budget
from infoprune.measuring.active import count_active_parameters
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.statistics.collect import collect
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import find_sites
from infoprune.tasks.compare import compare

RESULTS = Path(__file__).parent / "results" / "experts.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/experts.md"
KEEP = (0.5, 0.75)
SEEDS = (0, 1, 2)
SAMPLES = 96
"""Calibration pieces of each kind."""
BASELINES = ("reap", "frequency", "random")
METHODS = (
    ("information", "own", True),
    ("information", "equal", True),
    ("information", "equal", False),
    *((name, "equal", False) for name in BASELINES),
    *((name, "equal", True) for name in BASELINES[:2]),
)
"""(criterion, numbers of experts: equal in all layers or each layer's own, whether the experts are re-fitted)."""
NEURONS = "expert-neurons"
NEURON_METHODS = (
    ("information", "own", True),
    *(
        (name, "equal", repairs)
        for name in ("information", "wanda", "magnitude", "random")
        for repairs in (True, False)
    ),
)
"""The same for neurons inside the experts."""
BOTH = "experts,expert-neurons"
BOTH_METHODS = (("information", "own", True), ("information", "own", False))
"""The same for experts and neurons inside them."""


def main() -> None:
    """Compute the missing cells and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=float, nargs="+", default=KEEP, help="shares of the experts that stay")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="calibration seeds")
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    options = parser.parse_args()
    for keep in options.keep:
        for seed in options.seeds:
            for criterion, sizes, repairs in METHODS:
                key = {"split": options.split, "keep": keep, "seed": seed, "structure": None}
                key |= {"criterion": criterion, "sizes": sizes, "repair": repairs}
                cell(RESULTS, key, partial(measure, criterion, sizes, repairs, keep, seed, options.split))
            for structures, methods in ((NEURONS, NEURON_METHODS), (BOTH, BOTH_METHODS)):
                for criterion, sizes, repairs in methods:
                    key = {"split": options.split, "keep": keep, "seed": seed, "structure": structures}
                    key |= {"criterion": criterion, "sizes": sizes, "repair": repairs}
                    cell(
                        RESULTS, key, partial(measure, criterion, sizes, repairs, keep, seed, options.split, structures)
                    )
    if options.split == "test":
        rows = [row for row in cells(RESULTS) if row["split"] == "test"]
        write_page([row for row in rows if row.get("structure") is None])
        write_neurons([row for row in rows if row.get("structure") in (NEURONS, BOTH)])
        console.print(f"wrote {PAGE.name}")


def measure(
    criterion: str, sizes: str, repairs: bool, keep: float, seed: int, split: str, structure: str = "experts"
) -> dict:
    """Return a cell: the model cut in one way, beside the dense one on held-out pieces."""
    model, texts = dense(), calibration(seed)
    size = {"keep": keep}
    if sizes == "own":
        # of both as many parameters as of experts alone
        counted = [structure if structure != BOTH else "experts"]
        names = [name for site in find_sites(model, counted) for name in site.cut_parameters]
        experts = sum(model.get_parameter(name).numel() for name in names)
        size = {"budget": Budget("params", 1 - (1 - keep) * experts / model.num_parameters())}
    result = prune(
        model,
        texts,
        **size,
        structures=structure.split(","),
        criterion=criterion,
        settings=Settings(repair=repairs),
        statistics=statistics(seed, structure),
        seed=seed,
    )
    found = {kind: compare(model, result.model, held_out(kind, split)) for kind in KINDS}
    nats = result.report.nats_lost
    return {
        "kl": fmean(each.kl for each in found.values()),
        **{f"kl_{kind}": each.kl for kind, each in found.items()},
        "agreement": fmean(each.agreement for each in found.values()),
        "loss": fmean(each.small["loss"] for each in found.values()),
        "dense_loss": fmean(each.dense["loss"] for each in found.values()),
        "predicted": None if nats is None else nats / (LENGTH - 1),
        "parameters": result.model.num_parameters() / model.num_parameters(),
        "active": count_active_parameters(result.model) / count_active_parameters(model),
        "flops": result.report.pruned.flops / result.report.dense.flops,
        "kept": [kept for kept, _ in result.plan.counts.values()],
        "seconds": result.report.seconds["total"],
    }


@cache
def dense() -> torch.nn.Module:
    """Return the dense model."""
    return dense_model()


@cache
def calibration(seed: int) -> Batches:
    """Return calibration pieces, as many of each kind."""
    generator = torch.Generator().manual_seed(seed)
    rows = [each[torch.randperm(len(each), generator=generator)[:SAMPLES]] for each in pieces()["training"].values()]
    mixed = torch.cat(rows)
    return batches(mixed[torch.randperm(len(mixed), generator=generator)])


@cache
def statistics(seed: int, structure: str) -> Statistics:
    """Return the statistics of the calibration pieces."""
    model = dense()
    return collect(model, calibration(seed), sites=find_sites(model, structure.split(",")), seed=seed)


def held_out(kind: str, split: str) -> Batches:
    """Return pieces that were neither trained on nor used for calibration."""
    return batches(pieces()[split][kind])


def write_page(rows: list[dict]) -> None:
    """Write the table of docs/research/experts.md."""
    lines = [
        "| experts that stay | criterion | experts of a layer | re-fit | seeds | KL (nats per token) "
        "| lowest to highest | reviews, news, code | same next token | loss | parameters | a token reads |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for keep in sorted({row["keep"] for row in rows}, reverse=True):
        found = []
        for criterion, sizes, repairs in METHODS:
            way = {"keep": keep, "criterion": criterion, "sizes": sizes, "repair": repairs}
            same = [row for row in rows if all(row[name] == value for name, value in way.items())]
            if same:
                found.append((fmean(row["kl"] for row in same), way, same))
        for kl, way, same in sorted(found, key=lambda each: each[0]):
            kls = [row["kl"] for row in same]
            kinds = ", ".join(f"{fmean(row[f'kl_{kind}'] for row in same):.3f}" for kind in KINDS)
            fewest, most = min(min(row["kept"]) for row in same), max(max(row["kept"]) for row in same)
            sizes = f"{fewest}" if way["sizes"] == "equal" else f"{fewest} to {most}"
            lines.append(
                f"| {keep:.0%} | {way['criterion']} | {sizes} | {'yes' if way['repair'] else 'no'} "
                f"| {len(same)} | {kl:.4f} "
                f"| {min(kls):.4f} to {max(kls):.4f} | {kinds} | {fmean(row['agreement'] for row in same):.1%} "
                f"| {fmean(row['loss'] for row in same):.3f} | {fmean(row['parameters'] for row in same):.1%} "
                f"| {fmean(row['active'] for row in same):.1%} |"
            )
    dense_loss = rows[0]["dense_loss"]
    lines += ["", f"The dense model has a loss of {dense_loss:.3f} nats per token, mean of the three types of text."]
    write_part(PAGE, "experts", lines)


def write_neurons(rows: list[dict]) -> None:
    """Write the table of neurons inside experts."""
    lines = [
        "| stays | cut | criterion | in a layer | re-fit | seeds | KL (nats per token) | lowest to highest "
        "| reviews, news, code | same next token | parameters | a token reads | FLOPs |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ways = [(NEURONS, *each) for each in NEURON_METHODS] + [(BOTH, *each) for each in BOTH_METHODS]
    for keep in sorted({row["keep"] for row in rows}, reverse=True):
        found = []
        for way in ways:
            key = ("structure", "criterion", "sizes", "repair")
            same = [row for row in rows if row["keep"] == keep and tuple(row[name] for name in key) == way]
            if same:
                found.append((fmean(row["kl"] for row in same), way, same))
        for kl, (structure, criterion, _, repairs), same in sorted(found, key=lambda each: each[0]):
            kls = [row["kl"] for row in same]
            kinds = ", ".join(f"{fmean(row[f'kl_{kind}'] for row in same):.3f}" for kind in KINDS)
            shares = " | ".join(f"{fmean(row[name] for row in same):.1%}" for name in ("parameters", "active", "flops"))
            lines.append(
                f"| {keep:.0%} | {'neurons' if structure == NEURONS else 'experts and neurons'} | {criterion} "
                f"| {_sizes(same, structure)} | {'yes' if repairs else 'no'} | {len(same)} "
                f"| {kl:.4f} | {min(kls):.4f} to {max(kls):.4f} | {kinds} "
                f"| {fmean(row['agreement'] for row in same):.1%} | {shares} |"
            )
    write_part(PAGE, NEURONS, lines)


def _sizes(rows: list[dict], structure: str) -> str:
    """Return the numbers of units of the layers, in words."""
    kinds = ("experts", "neurons") if structure == BOTH else ("neurons",)
    parts = []
    for index, kind in enumerate(kinds):
        counts = [count for row in rows for count in row["kept"][index :: len(kinds)]]
        span = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        parts.append(f"{span} {kind}")
    return " of ".join(parts)


if __name__ == "__main__":
    main()
