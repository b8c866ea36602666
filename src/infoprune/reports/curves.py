"""Curves: what methods lose and what time their models take, against FLOPs and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoprune.reports.comparison import WHOSE, Cell, measure_of

COLOURS = (
    "#0b6e4f",
    "#c8553d",
    "#3d5a80",
    "#e0a458",
    "#7b2d8b",
    "#2a9df4",
    "#a44a3f",
    "#5c6b2f",
    "#d1495b",
    "#00798c",
    "#edae49",
    "#8d99ae",
)
LINES = {"ours": "-", "own": "--"}
LATENCY = "latency"
AGAINST = (("flops", "FLOPs, % of dense"), ("parameters", "parameters, % of dense"))


def draw_curves(cells: Sequence[Cell], path: Path) -> None:
    """Draws a row of panels against FLOPs and one against parameters: a metric, the divergence and the latency.

    Args:
        cells: of one model; a line for every criterion and repair, the mean over draws, with the range around it.
        path: of the picture.
    """
    panels = _panels(cells)
    figure = Figure(figsize=(4.2 * len(panels) + 2.0, 7.0), layout="constrained")
    grid = figure.subplots(len(AGAINST), len(panels), squeeze=False)
    for row, (against, label) in zip(grid, AGAINST, strict=True):
        for axes, (key, name) in zip(row, panels, strict=True):
            for number, criterion in enumerate(dict.fromkeys(cell.criterion for cell in cells)):
                for repair, style in LINES.items():
                    draws = [cell for cell in cells if (cell.criterion, cell.repair) == (criterion, repair)]
                    if draws:
                        _draw(axes, draws, against, key, COLOURS[number % len(COLOURS)], style)
            if key in cells[0].dense:
                axes.axhline(cells[0].dense[key], color="black", linewidth=0.8, linestyle=":")
            if key == "kl":
                axes.set_yscale("log")
            axes.set_xlabel(label)
            axes.set_ylabel(name)
            axes.grid(alpha=0.25)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def _panels(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """(key, name) of what is drawn: the model's own metric, what decides, and the latency."""
    panels = [(key, key.replace("_", " ")) for key in list(cells[0].dense)[:1]]
    measure = measure_of(cells)
    if measure is not None and measure.key not in dict(panels):
        panels.append((measure.key, measure.name))
    return [*panels, (LATENCY, "latency, % of dense")]


def _draw(axes: Axes, draws: Sequence[Cell], against: str, key: str, colour: str, style: str) -> None:
    """One line; goals are its points, those of the smallest model first."""
    points = []
    for goal in dict.fromkeys(cell.goal for cell in draws):
        same = [cell for cell in draws if cell.goal == goal]
        heights = [100 / cell.speedup if key == LATENCY else cell.metrics[key] for cell in same]
        shares = [cell.flops if against == "flops" else cell.parameters for cell in same]
        points.append((100 * fmean(shares), fmean(heights), min(heights), max(heights)))
    points.sort()
    x, y, low, high = zip(*points, strict=True)
    label = f"{draws[0].criterion}, {WHOSE[draws[0].repair]}"
    axes.plot(x, y, marker="o", markersize=3, linewidth=1.2, color=colour, linestyle=style, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
