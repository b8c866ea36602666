"""Comparison: cells of methods, sizes and seeds as a table, and which differences exceed those between seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from infoprune.tasks.compare import OVERLAP


@dataclass(frozen=True)
class Cell:
    """Result of one method at one size with one seed; the fields are the keys of a line of cells.jsonl.

    Args:
        criterion: Name of the method.
        repair: "own", as published, or "ours".
        goal: Size, such as "keep=0.5" or "flops=0.5".
        seed: Seed of the calibration texts.
        metrics: Metrics of the small model by name, with agreement (or cosine) and KL where they are defined.
        dense: Metrics of the dense model.
        parameters: Share of the dense model's parameters.
        flops: Share of the dense model's FLOPs, on a batch of typical length.
        latency_ms: Median latency of that batch in ms.
        dense_latency_ms: The same of the dense model, in alternating runs.
        kept: Units kept by site name.
        seconds: Time of choosing and repairing, without the statistics that all share.
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
        """Speed-up of the latency; other load on the machine slows both models alike."""
        return self.dense_latency_ms / self.latency_ms


@dataclass(frozen=True)
class Measure:
    """Metric that ranks the methods.

    Args:
        name: Name in headings.
        key: Key in a cell's metrics.
        least: Whether smaller is better.
    """

    name: str
    key: str
    least: bool


MEASURES = (
    Measure("KL (nats)", "kl", least=True),
    Measure("cosine", "cosine", least=False),
    Measure("Pearson", "pearson", least=False),
    Measure("loss (nats)", "loss", least=True),
    Measure("correlation", "correlation", least=False),
)
"""The first metric that all cells have ranks the methods."""
WHOSE = {"own": "own repair", "ours": "our repair"}


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, with the smallest and the largest value."""

    mean: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one number for each seed."""
        return cls(fmean(values), min(values), max(values), len(values))

    def apart(self, other: Spread) -> bool:
        """Return whether two ranges do not overlap; False where one of them has a single seed."""
        return min(self.seeds, other.seeds) > 1 and (self.high < other.low or other.high < self.low)


def measure_of(cells: Sequence[Cell]) -> Measure | None:
    """Return the metric that ranks the methods; None where the cells have none in common."""
    return next((each for each in MEASURES if all(each.key in cell.metrics for cell in cells)), None)


def by_setting(cells: Sequence[Cell]) -> dict[tuple[str, str], dict[str, list[Cell]]]:
    """Group cells by (goal, repair) and then by criterion, in their order."""
    groups: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault((cell.goal, cell.repair), {}).setdefault(cell.criterion, []).append(cell)
    return groups


def spreads(group: dict[str, list[Cell]], measure: Measure) -> dict[str, Spread]:
    """Return the spread of the ranking metric by criterion, the best first."""
    found = {name: Spread.of([cell.metrics[measure.key] for cell in seeds]) for name, seeds in group.items()}
    return dict(sorted(found.items(), key=lambda each: each[1].mean if measure.least else -each[1].mean))


def findings(cells: Sequence[Cell]) -> list[str]:
    """Return a sentence for every goal and repair: the best method, and those worse by more than the seeds differ."""
    measure = measure_of(cells)
    if measure is None:
        return ["The model outputs numbers and there are no labels, so the methods cannot be ranked."]
    lines = []
    for (goal, repair), group in by_setting(cells).items():
        ranked = spreads(group, measure)
        (best, first), *others = ranked.items()
        winner = f"{goal}, {WHOSE[repair]}: {best} is best, {measure.name} {_figure(first)}"
        clear = [name for name, each in others if first.apart(each)]
        near = [name for name, each in others if not first.apart(each)]
        if not others:
            lines.append(f"{winner}.")
        elif first.seeds < 2:
            lines.append(
                f"{winner}, followed by {others[0][0]} {_figure(others[0][1])}; with one seed the spread is not known."
            )
        else:
            beyond = [f"beyond the spread of the seeds better than {', '.join(clear)}"] if clear else []
            within = [f"within the spread of {', '.join(near)}"] if near else []
            lines.append(f"{winner}: {'; '.join(beyond + within)}.")
    return lines


HEADINGS = ("goal", "repair", "criterion", "seeds")


def rows(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of the table, for every goal and repair the best method first."""
    measure = measure_of(cells)
    names = [key for key in cells[0].metrics if all(key in cell.metrics for cell in cells)]
    names = sorted(names, key=lambda key: measure is None or key != measure.key)
    heading = [*HEADINGS, *(_heading(name) for name in names), "FLOPs", "parameters", "speed-up", "seconds"]
    table = []
    for (goal, repair), group in by_setting(cells).items():
        order = list(group) if measure is None else list(spreads(group, measure))
        for name in order:
            seeds = group[name]
            figures = [_value(key, Spread.of([cell.metrics[key] for cell in seeds])) for key in names]
            table.append(
                [
                    *(goal, repair, name, str(len(seeds))),
                    *figures,
                    f"{fmean(cell.flops for cell in seeds):.1%}",
                    f"{fmean(cell.parameters for cell in seeds):.1%}",
                    f"{fmean(cell.speedup for cell in seeds):.2f}x",
                    f"{fmean(cell.seconds for cell in seeds):.0f}",
                ]
            )
    return heading, table


def comparison_markdown(cells: Sequence[Cell]) -> str:
    """Return the text of comparison.md: the sentences and the table."""
    heading, table = rows(cells)
    dense = ", ".join(f"{_heading(name)} {_value(name, Spread.of([value]))}" for name, value in cells[0].dense.items())
    lines = [
        "# Comparison",
        "",
        *([f"Dense: {dense}.", ""] if dense else []),
        *(f"- {line}" for line in findings(cells)),
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


def _value(key: str, spread: Spread) -> str:
    """Format the mean, with the smallest and the largest value where there are several seeds."""
    if key in ("accuracy", "macro_f1", "micro_f1", "agreement", OVERLAP):
        mean, low, high = f"{spread.mean:.2%}", f"{spread.low:.2%}", f"{spread.high:.2%}"
    else:
        mean, low, high = f"{spread.mean:.4f}", f"{spread.low:.4f}", f"{spread.high:.4f}"
    return mean if spread.seeds < 2 else f"{mean} ({low} to {high})"


def _figure(spread: Spread) -> str:
    return _value("", spread)
