"""Curves of a comparison as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"information": "#0b6e4f", "magnitude": "#c8553d", "random": "#8d99ae"}


def draw(
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]],
    dense: float,
    path: Path,
    *,
    title: str,
) -> None:
    """Accuracy against FLOPs for several criteria.

    Args:
        curves: for each criterion points (share of dense FLOPs, mean accuracy, lowest, highest).
        dense: accuracy of the dense model.
        path: of the picture.
        title: above it.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    axes.axhline(100 * dense, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("dense", (50, 100 * dense), textcoords="offset points", xytext=(0, 3), ha="center", fontsize=9)
    for name, points in curves.items():
        ordered = sorted(points)
        x = [100 * share for share, *_ in ordered]
        y = [100 * mean for _, mean, *_ in ordered]
        colour = COLOURS.get(name)
        axes.plot(x, y, marker="o", markersize=4, color=colour, label=name)
        low, high = [100 * p[2] for p in ordered], [100 * p[3] for p in ordered]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlim(0, 102)
    axes.set_xlabel("FLOPs of the whole model, % of dense")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
