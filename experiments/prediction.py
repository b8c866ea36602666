"""Prediction: does the predicted loss match the measured loss of a plan, and would factors for depth or type help?

Random mixed plans are cut, compensated and evaluated, before and after the repair. Factors are fitted to the logarithm
of the measured loss and validated by leaving out one plan at a time.

Run: python -m experiments.prediction [--plans 12] [--task movie_reviews]
"""

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from experiments.budgets import TASKS, TITLES, prepared
from experiments.cells import cell, console
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.plan import Plan
from infoprune.ranking.rank import Rankings
from infoprune.repairing.repair import repair
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "prediction.jsonl"
PAGE = ROOT / "docs" / "research/prediction.md"
SHARES = (0.5, 0.35, 0.25)


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=12, help="number of random plans")
    parser.add_argument("--task", default="movie_reviews", choices=list(TITLES))
    options = parser.parse_args()
    bench = cache(partial(prepared, TASKS[options.task], 0, "validation"))
    rows = [
        cell(
            RESULTS,
            {"task": options.task, "plan": number},
            lambda number=number: measure(bench(), mixed(bench(), number)),
        )
        for number in range(options.plans)
    ]
    sites = list(rows[0]["predicted"])
    fits = {target: fit(rows, sites, target, ("depth",), 0.02) for target in ("kl_cut", "kl")}
    tried = []
    for share in (0.5, 0.25):
        for slope in (0.0, round(float(fits["kl"][1]), 2), -1.0):
            key = {"task": options.task, "share": share, "slope": slope}
            tried.append(cell(RESULTS, key, lambda s=share, a=slope: measure(bench(), sloped(bench(), s, a))))
    write_page(options.task, rows, sites, tried)
    console.print(f"wrote {PAGE.name}")


def weighted(rankings: Rankings, factors: dict[str, float]) -> Rankings:
    """Return rankings whose losses are multiplied by a factor for every site."""
    sites = {name: replace(each, losses=each.losses * factors[name]) for name, each in rankings.sites.items()}
    return replace(rankings, sites=sites)


def mixed(bench: tuple, number: int) -> Plan:
    """Return a plan that is optimal for loss curves with random factors."""
    _, _, _, rankings, costs, _, _ = bench
    chance = random.Random(number)
    factors = {name: math.exp(chance.gauss(0, 1)) for name in rankings.sites}
    return allocate(weighted(rankings, factors), Budget("flops", chance.choice(SHARES)), costs)


def sloped(bench: tuple, share: float, slope: float) -> Plan:
    """Return the plan for loss curves that are corrected for depth."""
    _, _, _, rankings, costs, _, _ = bench
    names = list(rankings.sites)
    factors = dict(zip(names, np.exp(features(names, ("depth",)) @ [slope]).tolist(), strict=True))
    return allocate(weighted(rankings, factors), Budget("flops", share), costs)


def measure(bench: tuple, plan: Plan) -> dict:
    """Return the predicted loss of a plan at every site, and the measured loss."""
    model, texts, statistics, rankings, _, eval_batches, dense = bench
    predicted = {
        name: float(each.losses[: each.site.units - plan.counts[name][0]].sum())
        for name, each in rankings.sites.items()
    }
    cut = apply_plan(model, plan, statistics)
    repaired = repair(cut, model, texts, statistics=statistics)
    return {
        "predicted": predicted,
        "kl_cut": mean_kl(dense.logits, evaluate(cut, eval_batches).logits),
        "kl": mean_kl(dense.logits, evaluate(repaired, eval_batches).logits),
    }


def features(sites: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return (sites, features): depth from -1/2 (bottom) to 1/2 (top), structure 1/2 (heads) or -1/2 (neurons)."""
    layers = np.array([int(site.split(".")[1]) for site in sites])
    columns = {
        "depth": layers / max(layers.max(), 1) - 0.5,
        "structure": np.array([0.5 if site.endswith("heads") else -0.5 for site in sites]),
    }
    return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((len(sites), 0))


def fit(rows: Sequence[dict], sites: Sequence[str], target: str, names: Sequence[str], penalty: float) -> np.ndarray:
    """Return logarithms of the factors: a common one, then one per feature, which the penalty shrinks to zero."""
    known = np.array([[row["predicted"][site] for site in sites] for row in rows])
    goal = np.log([row[target] for row in rows])
    table = features(sites, names)

    def errors(logs: np.ndarray) -> np.ndarray:
        misses = np.log(known @ np.exp(logs[0] + table @ logs[1:])) - goal
        return np.concatenate([misses, math.sqrt(penalty) * logs[1:]])

    return least_squares(errors, np.zeros(1 + len(names))).x


def left_out(rows: Sequence[dict], sites: Sequence[str], target: str, names: Sequence[str], penalty: float) -> float:
    """Return the root mean square of the logarithmic error at plans that were not fitted."""
    misses = []
    for index, row in enumerate(rows):
        logs = fit([*rows[:index], *rows[index + 1 :]], sites, target, names, penalty)
        factors = np.exp(logs[0] + features(sites, names) @ logs[1:])
        misses.append(math.log(sum(row["predicted"][s] * f for s, f in zip(sites, factors, strict=True)) / row[target]))
    return math.sqrt(sum(miss**2 for miss in misses) / len(misses))


def write_page(task: str, rows: list[dict], sites: list[str], tried: list[dict]) -> None:
    """Write docs/research/prediction.md from the cells."""
    lines = [
        "# Do the loss curves predict the loss of a plan?",
        "",
        f"{TITLES[task]}, {len(rows)} random mixed plans of 25 to 50 % of the FLOPs. The measured KL on the validation",
        "split is compared with the sum of the predicted losses. Factors are fitted to its logarithm: one common",
        "factor, or also one for depth or for the type of structure (penalty 0.02). The error is that of plans left",
        "out of the fit.",
        "",
        "Made by `python -m experiments.prediction`.",
        "",
        "| measured | factors | error | common factor | from bottom to top | neurons to heads |",
        "|---|---|---|---|---|---|",
    ]
    for target, title in (("kl_cut", "before the repair"), ("kl", "after the repair")):
        for names in ((), ("depth",), ("structure",), ("depth", "structure")):
            logs = fit(rows, sites, target, names, 0.02)
            shown = dict(zip(names, np.exp(logs[1:]).tolist(), strict=True))
            cells = [f"{shown[name]:.2f}x" if name in shown else "" for name in ("depth", "structure")]
            error = left_out(rows, sites, target, names, 0.02)
            words = " and ".join(names) or "common factor"
            lines.append(f"| {title} | {words} | {error:.1%} | {math.exp(logs[0]):.2f} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        "KL after the repair of plans whose loss curves were corrected for depth:",
        "",
        "| FLOPs | factor, bottom to top | KL (nats) |",
        "|---|---|---|",
        *(f"| {row['share']:.0%} | {math.exp(-row['slope']):.2f}x | {row['kl']:.4f} |" for row in tried),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
