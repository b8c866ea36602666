"""Curves: metrics and latency of pruned models against FLOPs and parameters, for several methods."""

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


def plot_curves(cells: Sequence[Cell], path: Path) -> None:
    """Plot a row of panels against FLOPs and one against parameters: a metric, the divergence and the latency.

    Args:
        cells: Cells of one model; every criterion and repair is a line, the mean over seeds, with the range around it.
        path: Path of the picture.
    """
    panels = _panels(cells)
    figure = Figure(figsize=(4.2 * len(panels) + 2.0, 7.0), layout="constrained")
    grid = figure.subplots(len(AGAINST), len(panels), squeeze=False)
    for row, (against, label) in zip(grid, AGAINST, strict=True):
        for axes, (key, name) in zip(row, panels, strict=True):
            for number, criterion in enumerate(dict.fromkeys(cell.criterion for cell in cells)):
                for repair, style in LINES.items():
                    seeds = [cell for cell in cells if (cell.criterion, cell.repair) == (criterion, repair)]
                    if seeds:
                        _plot(axes, seeds, against, key, COLOURS[number % len(COLOURS)], style)
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
    """Return (key, name) of the panels: the model's own metric, the ranking metric, and the latency."""
    panels = [(key, key.replace("_", " ")) for key in list(cells[0].dense)[:1]]
    measure = measure_of(cells)
    if measure is not None and measure.key not in dict(panels):
        panels.append((measure.key, measure.name))
    return [*panels, (LATENCY, "latency, % of dense")]


def _plot(axes: Axes, seeds: Sequence[Cell], against: str, key: str, colour: str, style: str) -> None:
    """Plot one line; its points are the goals, those of the smallest model first."""
    points = []
    for goal in dict.fromkeys(cell.goal for cell in seeds):
        same = [cell for cell in seeds if cell.goal == goal]
        heights = [100 / cell.speedup if key == LATENCY else cell.metrics[key] for cell in same]
        shares = [cell.flops if against == "flops" else cell.parameters for cell in same]
        points.append((100 * fmean(shares), fmean(heights), min(heights), max(heights)))
    points.sort()
    x, y, low, high = zip(*points, strict=True)
    label = f"{seeds[0].criterion}, {WHOSE[seeds[0].repair]}"
    axes.plot(x, y, marker="o", markersize=3, linewidth=1.2, color=colour, linestyle=style, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
