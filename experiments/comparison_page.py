"""The page docs/research/comparison.md, from the cells of the comparison that have been computed."""

from pathlib import Path
from statistics import fmean

from experiments.cells import OLDER_REPAIR, cells
from infoprune.methods.table import METHODS

PAGE = Path(__file__).parent.parent / "docs" / "research/comparison.md"
TITLES = {
    "movie_reviews": "Movie reviews: short texts, two classes",
    "topics": "BBC news: five topics of long texts, the first 64 tokens",
    "brown": "Brown corpus: part-of-speech tags",
    "embedding": "Sentence embeddings: MiniLM without fine-tuning, no labels",
}
OURS = "information"
BOUND = 0.75
"""Goal at a quarter of the FLOPs: the largest ratio of our KL to that of the best baseline."""
QUARTER = "flops=0.25"
INTRODUCTION = """
MiniLM (6 layers, hidden size 384), test split. *Own*: the whole method as published, with its allocation of a budget,
its compensation and its schedule ([cards](criteria/index.md)). *Ours*: the same choice of units, then this library's
compensation and repair. The KL divergence is measured from the dense model, in nats per answer: a class, or the tag of
a word. An embedding is taken as the mean of a Gaussian of variance 1, so its KL is half the squared distance, which is
1 - cosine for embeddings of length 1. All methods have the same unlabelled calibration texts, and nothing is trained
after the cut. Seconds are of one run on one shared core and are approximate; they do not include the statistics, which
all methods share.

A seed determines the calibration texts. For movie reviews seed k also means another dense model (another seed of the
fine-tuning); the other tasks have one dense model. A difference exceeds the spread where the worst seed of ours is
better than the best seed of the baseline. Ratios are over the seeds that both have.

Where there are few texts, our repair also uses augmented inputs ([method.md](../concepts/method.md), section 6; not for
the Brown corpus), and the sizes of embedding models follow measured losses (section 7). The baselines' own repairs use
no augmented inputs and were not measured with them, so the gain from augmentation does not come from the choice of
units.

After Kwon's method a classifier may agree with the dense model and still have a large KL, because its predictions are
less confident. [Why](criteria/kwon.md).
"""
Rows = list[dict]


def write_page(results: Path, page: Path = PAGE) -> None:
    """Write the page."""
    rows = cells(results)
    settings = sorted({(row["task"], row["samples"]) for row in rows}, key=_position)
    tables, levels = [], []
    for task, samples in settings:
        of_task = [row for row in rows if (row["task"], row["samples"]) == (task, samples)]
        about = f"{samples:,} calibration texts, {of_task[0]['eval_texts']:,} test texts"
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


def _position(table: tuple[str, int]) -> tuple[int, int]:
    return list(TITLES).index(table[0]), -table[1]


def _order(goal: str) -> tuple[int, float]:
    quantity, _, share = goal.partition("=")
    return ("keep", "flops").index(quantity), -float(share)


def _goal(goal: str) -> str:
    quantity, _, share = goal.partition("=")
    return f"keep {share} of the units of every layer" if quantity == "keep" else f"{float(share):.0%} of the FLOPs"


def _loss(row: dict) -> float:
    """Return the loss that methods are compared by: the KL, or 1 - cosine."""
    loss: float = row["kl"] if "kl" in row else 1 - row["cosine"]
    return loss


def _mean(rows: Rows) -> float:
    return fmean(map(_loss, rows))


def _spread(rows: Rows) -> str:
    values = sorted(map(_loss, rows))
    seeds = f"{values[0]:.4f} to {values[-1]:.4f}, {len(values)} seeds" if len(values) > 1 else "1 seed"
    return f"{fmean(values):.4f} ({seeds})"


def _dense(rows: Rows) -> str:
    dense = next(row["dense"] for row in rows if row["seed"] == 0)
    metrics = ", ".join(f"{name.replace('_', ' ')} {value:.2%}" for name, value in dense.items())
    return f"Dense: {metrics}." if metrics else ""


def _among(rows: Rows) -> dict[tuple[str, str], Rows]:
    """Return the rows of every method and repair, one row per seed."""
    found: dict[tuple[str, str], Rows] = {}
    for row in rows:
        found.setdefault((row["method"], row["repair"]), []).append(row)
    return found


def _in_common(mine: Rows, theirs: Rows) -> tuple[Rows, Rows]:
    both = {row["seed"] for row in mine} & {row["seed"] for row in theirs}
    ours, others = ([row for row in rows if row["seed"] in both] for rows in (mine, theirs))
    return ours, others


def _ratio(mine: Rows, theirs: Rows) -> float:
    """Return the ratio of the losses, over the seeds that both have."""
    ours, others = _in_common(mine, theirs)
    return _mean(ours) / _mean(others)


def _short(levels: list[tuple[str, str, Rows]]) -> list[str]:
    """Return the summary: a line for every task and level, and the cases in which a baseline is better."""
    lines = [
        "| task | level | ours: KL (spread) | best baseline, own repair: KL | ours / baseline | exceeds the spread |",
        "|---|---|---|---|---|---|",
    ]
    lowest = apart = scored = several = 0
    quarters: list[str] = []
    missed: list[str] = []
    for task, goal, rows in levels:
        found = _among(rows)
        mine = found.pop((OURS, "ours"), None)
        baselines = {key: theirs for key, theirs in found.items() if mine and _in_common(mine, theirs)[0]}
        own = {method: theirs for (method, repair), theirs in baselines.items() if repair == "own"}
        if mine is None or not own:
            continue
        scored += 1
        ratios = {method: _ratio(mine, theirs) for method, theirs in own.items()}
        best = max(ratios, key=ratios.__getitem__)
        beyond = max(map(_loss, mine)) < min(map(_loss, own[best]))
        ahead = ratios[best] < 1
        lowest, apart = lowest + ahead, apart + (beyond and len(mine) > 1)
        several += len(mine) > 1
        if goal == QUARTER:
            quarters.append(f"{task} {ratios[best]:.2f}{'' if ratios[best] <= BOUND else ' (**not reached**)'}")
        beaten = "yes" if len(mine) > 1 else "one seed"
        verdict = "**worse**" if not ahead else beaten if beyond else "no"
        lines.append(
            f"| {task} | {_goal(goal)} | {_spread(mine)} | {best} {_spread(own[best])} | {ratios[best]:.2f} "
            f"| {verdict} |"
        )
        missed += [
            f"- **Better than ours: {method} with {'our' if repair == 'ours' else 'its own'} repair**, {task}, "
            f"{_goal(goal)}: {_mean(theirs):.4f}; ours is {_ratio(mine, theirs):.2f} times that."
            for (method, repair), theirs in baselines.items()
            if _ratio(mine, theirs) > 1
        ]
    summary = (
        f"Our method has the lowest KL in {lowest} of {scored} comparisons. In {apart} of the {several} comparisons "
        "with several seeds the difference exceeds the spread."
    )
    if quarters:
        summary += (
            f" The goal at a quarter of the FLOPs is at most {BOUND} of the KL of the best baseline with its own "
            f"repair; the ratios are: {', '.join(quarters)}."
        )
    return [summary, "", *lines, *([""] if missed else []), *missed]


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
