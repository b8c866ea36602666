"""docs/comparison.md from the cells of the comparison: what is there, and nothing that is not."""

from pathlib import Path
from statistics import fmean

from experiments.cells import OLDER_REPAIR, cells
from infoprune.methods.table import METHODS

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"
TITLES = {
    "movie_reviews": "Movie reviews: short texts, two classes",
    "topics": "BBC news: five topics of long texts, the first 64 tokens",
    "brown": "Brown corpus: a part of speech for every word",
    "embedding": "Sentence embeddings: MiniLM as it is, no labels",
}
OURS = "information"
BOUND = 0.75
"""Of the best rival's KL, that ours is to stay below at a quarter of the FLOPs."""
QUARTER = "flops=0.25"
INTRODUCTION = """
MiniLM (6 layers, width 384), test split. *Own*: everything as published, the division of a budget, the compensation
and the schedule included ([cards](criteria/)); *ours*: the same choice of units, then this library's compensation and
repair. KL is from the dense model, in nats an answer: a class, a tag of a word. An embedding is read as the mean of a
Gaussian of variance 1, so its KL is half the squared distance, which for points of length 1 is 1 - cosine. The same
unlabelled calibration texts for all; nothing is trained after the cut. Seconds are of one run on one shared core,
without the statistics, which all methods share: compare them loosely.

A draw is of calibration texts; for movie reviews draw k is of another dense model too (another seed of the
fine-tuning), elsewhere there is one dense model. A difference exceeds the spread where the worst draw of ours is
better than the best of the rival. Ratios are over the draws that both have.

Where texts are few, our repair reads copies of them too ([method.md](method.md), section 6; not of the Brown corpus),
and the sizes of embedding models follow measured losses (section 7). The rivals' own repairs read no copies, and were
not measured with them: what copies win there says nothing of the choice of units.

Kwon's answers may agree with the dense ones and be far from them in KL: they are not as sure. [Why](criteria/kwon.md).
"""
Rows = list[dict]


def write_page(results: Path, page: Path = PAGE) -> None:
    """Writes the page."""
    rows = cells(results)
    settings = sorted({(row["task"], row["samples"]) for row in rows}, key=_place)
    tables, levels = [], []
    for task, samples in settings:
        of_task = [row for row in rows if (row["task"], row["samples"]) == (task, samples)]
        about = f"{samples:,} calibration texts, {of_task[0]['questions']:,} test texts"
        tables += ["", f"## {TITLES[task]}", "", f"{about[0].upper()}{about[1:]}. {_dense(of_task)}".rstrip()]
        for goal in sorted({row["goal"] for row in of_task}, key=_order):
            same = [row for row in of_task if row["goal"] == goal]
            levels.append((TITLES[task].partition(":")[0], goal, same))
            tables += ["", f"### {_goal(goal)[0].upper()}{_goal(goal)[1:]}", "", *_table(same)]
    lines = [
        "# Comparison with other training-free methods",
        "",
        *_short(levels),
        "",
        *INTRODUCTION.strip().splitlines(),
        "",
        *OLDER_REPAIR,
        "Made by `python -m experiments.comparison`; only cells that have been computed are shown.",
        *tables,
    ]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _place(table: tuple[str, int]) -> tuple[int, int]:
    return list(TITLES).index(table[0]), -table[1]


def _order(goal: str) -> tuple[int, float]:
    kind, _, share = goal.partition("=")
    return ("keep", "flops").index(kind), -float(share)


def _goal(goal: str) -> str:
    kind, _, share = goal.partition("=")
    return f"keep {share} of the units of every layer" if kind == "keep" else f"{float(share):.0%} of the FLOPs"


def _loss(row: dict) -> float:
    """What is judged by."""
    loss: float = row["kl"] if "kl" in row else 1 - row["cosine"]
    return loss


def _mean(rows: Rows) -> float:
    return fmean(map(_loss, rows))


def _spread(rows: Rows) -> str:
    values = sorted(map(_loss, rows))
    draws = f"{values[0]:.4f} to {values[-1]:.4f}, {len(values)} draws" if len(values) > 1 else "1 draw"
    return f"{fmean(values):.4f} ({draws})"


def _dense(rows: Rows) -> str:
    dense = next(row["dense"] for row in rows if row["seed"] == 0)
    said = ", ".join(f"{name.replace('_', ' ')} {value:.2%}" for name, value in dense.items())
    return f"Dense: {said}." if said else ""


def _among(rows: Rows) -> dict[tuple[str, str], Rows]:
    """Draws of every method and repair."""
    found: dict[tuple[str, str], Rows] = {}
    for row in rows:
        found.setdefault((row["method"], row["repair"]), []).append(row)
    return found


def _in_common(mine: Rows, theirs: Rows) -> tuple[Rows, Rows]:
    both = {row["seed"] for row in mine} & {row["seed"] for row in theirs}
    ours, others = ([row for row in rows if row["seed"] in both] for rows in (mine, theirs))
    return ours, others


def _ratio(mine: Rows, theirs: Rows) -> float:
    """Of the losses, over the draws that both have."""
    ours, others = _in_common(mine, theirs)
    return _mean(ours) / _mean(others)


def _short(levels: list[tuple[str, str, Rows]]) -> list[str]:
    """What came of it: a line for every task and level, and what is not as it should be."""
    lines = [
        "| task | level | ours: KL (spread) | best rival, all its own: KL | ours / rival | exceeds the spread |",
        "|---|---|---|---|---|---|",
    ]
    lowest = apart = judged = several = 0
    quarters: list[str] = []
    missed: list[str] = []
    for task, goal, rows in levels:
        found = _among(rows)
        mine = found.pop((OURS, "ours"), None)
        rivals = {key: theirs for key, theirs in found.items() if mine and _in_common(mine, theirs)[0]}
        own = {method: theirs for (method, repair), theirs in rivals.items() if repair == "own"}
        if mine is None or not own:
            continue
        judged += 1
        ratios = {method: _ratio(mine, theirs) for method, theirs in own.items()}
        best = max(ratios, key=ratios.__getitem__)
        beyond = max(map(_loss, mine)) < min(map(_loss, own[best]))
        ahead = ratios[best] < 1
        lowest, apart = lowest + ahead, apart + (beyond and len(mine) > 1)
        several += len(mine) > 1
        if goal == QUARTER:
            quarters.append(f"{task} {ratios[best]:.2f}{'' if ratios[best] <= BOUND else ' (**not reached**)'}")
        said = "**worse**" if not ahead else "yes" if beyond and len(mine) > 1 else "no" if not beyond else "one draw"
        lines.append(
            f"| {task} | {_goal(goal)} | {_spread(mine)} | {best} {_spread(own[best])} | {ratios[best]:.2f} | {said} |"
        )
        missed += [
            f"- **Better than ours: {method} with {'our' if repair == 'ours' else 'its own'} repair**, {task}, "
            f"{_goal(goal)}: {_mean(theirs):.4f}, ours is {_ratio(mine, theirs):.2f} of it."
            for (method, repair), theirs in rivals.items()
            if _ratio(mine, theirs) > 1
        ]
    said = (
        f"Ours has the lowest KL in {lowest} of {judged} places, by more than the spread in {apart} of the {several} "
        "that have several draws."
    )
    if quarters:
        said += (
            f" At a quarter of the FLOPs ours is to have {BOUND} of the KL of the best rival's full method or less: "
        )
        said += ", ".join(quarters) + "."
    return [said, "", *lines, *([""] if missed else []), *missed]


def _table(rows: Rows) -> list[str]:
    found = _among(rows)
    metrics = [key for key in ("accuracy", "agreement", "cosine", "neighbour_overlap@10") if key in rows[0]]
    repairs = [repair for repair in ("own", "ours") if any(row["repair"] == repair for row in rows)]
    names = ["KL (nats)", *(metric.replace("_", " ") for metric in metrics), "seconds"]
    heading = [f"{name}, {repair}" for repair in repairs for name in names]
    lines = [f"| method | FLOPs | {' | '.join(heading)} |", "|" + "---|" * (2 + len(heading))]
    there = {name: [each for (method, _), each in found.items() if method == name] for name in METHODS}
    there = {name: each for name, each in there.items() if each}
    for name in sorted(there, key=lambda name: min(map(_mean, there[name]))):
        flops = fmean(row["flops"] for each in there[name] for row in each)
        figures = [figure for repair in repairs for figure in _figures(found.get((name, repair), []), metrics)]
        lines.append(f"| {name} | {flops:.1%} | {' | '.join(figures)} |")
    return lines


def _figures(rows: Rows, metrics: list[str]) -> list[str]:
    if not rows:
        return [""] * (2 + len(metrics))
    means = {metric: fmean(row[metric] for row in rows) for metric in metrics}
    shares = [f"{value:.4f}" if metric == "cosine" else f"{value:.2%}" for metric, value in means.items()]
    return [_spread(rows), *shares, f"{fmean(row['seconds'] for row in rows):.0f}"]
