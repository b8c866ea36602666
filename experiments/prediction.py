"""Prediction: do the curves' nats say what a plan really costs, and would a factor for depth or kind say it better?

Random mixed plans are cut, compensated and evaluated, before and after the repair; factors are fitted to the logarithm
of what was measured and judged by leaving out one plan at a time.

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
from infoprune.repair.repair import repair
from infoprune.surgery import prune
from infoprune.tasks.evaluate import evaluate, mean_kl

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "prediction.jsonl"
PAGE = ROOT / "docs" / "prediction.md"
SHARES = (0.5, 0.35, 0.25)


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=12, help="random plans")
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
    """Rankings whose losses are multiplied by a factor for every site."""
    sites = {name: replace(each, losses=each.losses * factors[name]) for name, each in rankings.sites.items()}
    return replace(rankings, sites=sites)


def mixed(bench: tuple, number: int) -> Plan:
    """A plan that is good for curves that are wrong by random factors."""
    _, _, _, rankings, costs, _, _ = bench
    draw = random.Random(number)
    factors = {name: math.exp(draw.gauss(0, 1)) for name in rankings.sites}
    return allocate(weighted(rankings, factors), Budget("flops", draw.choice(SHARES)), costs)


def sloped(bench: tuple, share: float, slope: float) -> Plan:
    """The plan for curves that are corrected for depth."""
    _, _, _, rankings, costs, _, _ = bench
    names = list(rankings.sites)
    factors = dict(zip(names, np.exp(features(names, ("depth",)) @ [slope]).tolist(), strict=True))
    return allocate(weighted(rankings, factors), Budget("flops", share), costs)


def measure(bench: tuple, plan: Plan) -> dict:
    """What a plan was predicted to lose at every site, and what it loses."""
    model, texts, statistics, rankings, _, questions, dense = bench
    predicted = {
        name: float(each.losses[: each.site.units - plan.counts[name][0]].sum())
        for name, each in rankings.sites.items()
    }
    cut = prune(model, plan, statistics)
    repaired = repair(cut, model, texts, statistics=statistics)
    return {
        "predicted": predicted,
        "kl_cut": mean_kl(dense.logits, evaluate(cut, questions).logits),
        "kl": mean_kl(dense.logits, evaluate(repaired, questions).logits),
    }


def features(sites: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """(sites, features): depth from -1/2 at the bottom to 1/2 at the top, kind 1/2 for heads and -1/2 for neurons."""
    layers = np.array([int(site.split(".")[1]) for site in sites])
    columns = {
        "depth": layers / max(layers.max(), 1) - 0.5,
        "kind": np.array([0.5 if site.endswith("heads") else -0.5 for site in sites]),
    }
    return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((len(sites), 0))


def fit(rows: Sequence[dict], sites: Sequence[str], target: str, names: Sequence[str], penalty: float) -> np.ndarray:
    """Logarithms of the factors: a common one first, then one for every feature, pulled to zero by the penalty."""
    known = np.array([[row["predicted"][site] for site in sites] for row in rows])
    goal = np.log([row[target] for row in rows])
    table = features(sites, names)

    def errors(logs: np.ndarray) -> np.ndarray:
        misses = np.log(known @ np.exp(logs[0] + table @ logs[1:])) - goal
        return np.concatenate([misses, math.sqrt(penalty) * logs[1:]])

    return least_squares(errors, np.zeros(1 + len(names))).x


def left_out(rows: Sequence[dict], sites: Sequence[str], target: str, names: Sequence[str], penalty: float) -> float:
    """Root mean square of the logarithmic error at plans that were not fitted."""
    misses = []
    for index, row in enumerate(rows):
        logs = fit([*rows[:index], *rows[index + 1 :]], sites, target, names, penalty)
        factors = np.exp(logs[0] + features(sites, names) @ logs[1:])
        misses.append(math.log(sum(row["predicted"][s] * f for s, f in zip(sites, factors, strict=True)) / row[target]))
    return math.sqrt(sum(miss**2 for miss in misses) / len(misses))


def write_page(task: str, rows: list[dict], sites: list[str], tried: list[dict]) -> None:
    """docs/prediction.md from the cells."""
    lines = [
        "# Do the curves predict what a plan costs?",
        "",
        f"{TITLES[task]}, {len(rows)} random mixed plans of 25 to 50 % of the FLOPs, KL on the validation split",
        "against the sum of the losses that the curves predict. Factors are fitted to its logarithm: one for all,",
        "or also one with depth or kind (penalty 0.02). The error is that of plans that were left out of the fit.",
        "",
        "Made by `python -m experiments.prediction`.",
        "",
        "| measured | factors | error | common factor | from bottom to top | neurons to heads |",
        "|---|---|---|---|---|---|",
    ]
    for target, title in (("kl_cut", "before the repair"), ("kl", "after the repair")):
        for names in ((), ("depth",), ("kind",), ("depth", "kind")):
            logs = fit(rows, sites, target, names, 0.02)
            shown = dict(zip(names, np.exp(logs[1:]).tolist(), strict=True))
            cells = [f"{shown[name]:.2f}x" if name in shown else "" for name in ("depth", "kind")]
            error = left_out(rows, sites, target, names, 0.02)
            words = " and ".join(names) or "one for all"
            lines.append(f"| {title} | {words} | {error:.1%} | {math.exp(logs[0]):.2f} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        "What plans cost whose curves were corrected for depth, KL after the repair:",
        "",
        "| FLOPs | bottom against top | KL (nats) |",
        "|---|---|---|",
        *(f"| {row['share']:.0%} | {math.exp(-row['slope']):.2f}x | {row['kl']:.4f} |" for row in tried),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
