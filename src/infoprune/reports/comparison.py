"""Comparison: cells of methods, goals and draws as a table, and which differences are larger than the draws'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from infoprune.tasks.compare import OVERLAP


@dataclass(frozen=True)
class Cell:
    """One method, one goal, one draw of calibration texts; the fields are the keys of a line of cells.jsonl.

    Args:
        criterion: name of the method.
        repair: "own", as published, or "ours".
        goal: such as "keep=0.5" or "flops=0.5".
        seed: of the draw.
        metrics: of the small model, by name; with agreement (or cosine) and KL where there is such a thing.
        dense: metrics of the dense model.
        parameters: share of the dense model's.
        flops: share of the dense model's, on a batch of typical length.
        latency_ms: median of that batch.
        dense_latency_ms: the same of the dense model, in alternating runs.
        kept: units by site name.
        seconds: of choosing and repairing, without the statistics that all share.
    """

    criterion: str
    repair: str
    goal: str
    seed: int
    metrics: dict[str, float]
    dense: dict[str, float]
    parameters: float
    flops: float
    latency_ms: float
    dense_latency_ms: float
    kept: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def speedup(self) -> float:
        """Of the latency: both models are slowed alike where the machine is busy."""
        return self.dense_latency_ms / self.latency_ms


@dataclass(frozen=True)
class Measure:
    """What methods are judged by.

    Args:
        name: as a heading.
        key: among a cell's metrics.
        least: whether less is better.
    """

    name: str
    key: str
    least: bool


MEASURES = (
    Measure("KL (nats)", "kl", least=True),
    Measure("cosine", "cosine", least=False),
    Measure("Pearson", "pearson", least=False),
    Measure("loss (nats)", "loss", least=True),
)
"""The first that cells have is the one that decides."""
WHOSE = {"own": "own repair", "ours": "our repair"}


@dataclass(frozen=True)
class Spread:
    """The mean over draws, the least and the greatest."""

    mean: float
    low: float
    high: float
    draws: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one number for each draw."""
        return cls(fmean(values), min(values), max(values), len(values))

    def apart(self, other: Spread) -> bool:
        """Whether the ranges of two do not touch; never so where one of them is a single draw."""
        return min(self.draws, other.draws) > 1 and (self.high < other.low or other.high < self.low)


def measure_of(cells: Sequence[Cell]) -> Measure | None:
    """What decides; None where the models give numbers only, and nobody says which are right."""
    return next((each for each in MEASURES if all(each.key in cell.metrics for cell in cells)), None)


def grouped(cells: Sequence[Cell]) -> dict[tuple[str, str], dict[str, list[Cell]]]:
    """Draws by criterion, by (goal, repair), in the order in which they come."""
    groups: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault((cell.goal, cell.repair), {}).setdefault(cell.criterion, []).append(cell)
    return groups


def spreads(group: dict[str, list[Cell]], measure: Measure) -> dict[str, Spread]:
    """What decides, by criterion, the best first."""
    found = {name: Spread.of([cell.metrics[measure.key] for cell in draws]) for name, draws in group.items()}
    return dict(sorted(found.items(), key=lambda each: each[1].mean if measure.least else -each[1].mean))


def summary(cells: Sequence[Cell]) -> list[str]:
    """A sentence for every goal and repair: which is best, and which others are worse by more than the draws differ."""
    measure = measure_of(cells)
    if measure is None:
        return ["The model gives numbers and there are no labels: nothing says which method is best."]
    lines = []
    for (goal, repair), group in grouped(cells).items():
        ranked = spreads(group, measure)
        (best, first), *others = ranked.items()
        said = f"{goal}, {WHOSE[repair]}: {best} is best, {measure.name} {_figure(first)}"
        clear = [name for name, each in others if first.apart(each)]
        near = [name for name, each in others if not first.apart(each)]
        if not others:
            lines.append(f"{said}.")
        elif first.draws < 2:
            lines.append(f"{said}, before {others[0][0]} {_figure(others[0][1])}; one draw tells no spread.")
        else:
            beyond = f"beyond the spread before {', '.join(clear)}" if clear else "beyond the spread before none"
            lines.append(f"{said}: {beyond}{'; within it ' + ', '.join(near) if near else ''}.")
    return lines


HEADINGS = ("goal", "repair", "criterion", "draws")


def rows(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the table: for every goal and repair the best first."""
    measure = measure_of(cells)
    names = [key for key in cells[0].metrics if all(key in cell.metrics for cell in cells)]
    names = sorted(names, key=lambda key: measure is None or key != measure.key)
    heading = [*HEADINGS, *(_heading(name) for name in names), "FLOPs", "parameters", "speed-up", "seconds"]
    table = []
    for (goal, repair), group in grouped(cells).items():
        order = list(group) if measure is None else list(spreads(group, measure))
        for name in order:
            draws = group[name]
            figures = [_said(key, Spread.of([cell.metrics[key] for cell in draws])) for key in names]
            table.append(
                [
                    *(goal, repair, name, str(len(draws))),
                    *figures,
                    f"{fmean(cell.flops for cell in draws):.1%}",
                    f"{fmean(cell.parameters for cell in draws):.1%}",
                    f"{fmean(cell.speedup for cell in draws):.2f}x",
                    f"{fmean(cell.seconds for cell in draws):.0f}",
                ]
            )
    return heading, table


def markdown(cells: Sequence[Cell]) -> str:
    """The table and the sentences as a page."""
    heading, table = rows(cells)
    dense = ", ".join(f"{_heading(name)} {_said(name, Spread.of([value]))}" for name, value in cells[0].dense.items())
    lines = [
        "# Comparison",
        "",
        *([f"Dense: {dense}.", ""] if dense else []),
        *(f"- {line}" for line in summary(cells)),
        "",
        f"| {' | '.join(heading)} |",
        "|" + "---|" * len(heading),
        *(f"| {' | '.join(row)} |" for row in table),
        "",
        "![curves](curves.png)",
    ]
    return "\n".join(lines) + "\n"


def _heading(key: str) -> str:
    return {"kl": "KL (nats)"}.get(key, key.replace("_", " "))


def _said(key: str, spread: Spread) -> str:
    """A figure, and the least and the greatest where there are several draws."""
    if key in ("accuracy", "macro_f1", "micro_f1", "agreement", OVERLAP):
        mean, low, high = f"{spread.mean:.2%}", f"{spread.low:.2%}", f"{spread.high:.2%}"
    else:
        mean, low, high = f"{spread.mean:.4f}", f"{spread.low:.4f}", f"{spread.high:.4f}"
    return mean if spread.draws < 2 else f"{mean} ({low} to {high})"


def _figure(spread: Spread) -> str:
    return _said("", spread)
