"""Plot of the accuracy curves of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"information": "#0b6e4f", "ours": "#0b6e4f", "magnitude": "#c8553d", "random": "#8d99ae"}
"""Other curves have the default colours of matplotlib."""


def plot(
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]],
    dense: float,
    path: Path,
    *,
    title: str,
    share: str = "FLOPs of the whole model, % of dense",
) -> None:
    """Plot accuracy against the remaining share of the model, for several criteria.

    Args:
        curves: For each criterion the points (remaining share of the dense model, mean accuracy, lowest, highest).
        dense: Accuracy of the dense model.
        path: File of the picture.
        title: Text above the axes.
        share: Label of the horizontal axis.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    axes.set_xlim(0, 102 * max(point[0] for points in curves.values() for point in points))
    axes.axhline(100 * dense, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        "dense",
        (axes.get_xlim()[1] / 2, 100 * dense),
        textcoords="offset points",
        xytext=(0, 3),
        ha="center",
        fontsize=9,
    )
    for name, points in curves.items():
        ordered = sorted(points)
        x = [100 * point[0] for point in ordered]
        y = [100 * mean for _, mean, *_ in ordered]
        (line,) = axes.plot(x, y, marker="o", markersize=4, color=COLOURS.get(name), label=name)
        low, high = [100 * p[2] for p in ordered], [100 * p[3] for p in ordered]
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xlabel(share)
    axes.set_ylabel("test accuracy, %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
