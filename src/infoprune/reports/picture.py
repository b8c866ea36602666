"""Picture: plot the units kept in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from infoprune.reports.render import layer_and_structure, unit_name

COLOURS = ("#0b6e4f", "#c8553d", "#3d5a80", "#e0a458")


def plot_sizes(kept: Mapping[str, tuple[int, int]], path: Path) -> None:
    """Plot the share of the units that every layer keeps, a panel for each type of structure, the bottom layer below.

    Args:
        kept: (units kept, of) by site name.
        path: Path of the picture.

    Examples:
        >>> plot_sizes({"layers.0.ffn": (384, 1536), "layers.0.heads": (5, 12)}, Path("sizes.png"))
    """
    found = {layer_and_structure(site): counts for site, counts in kept.items()}
    structures = list(dict.fromkeys(structure for _, structure in found))
    layers = list(dict.fromkeys(layer for layer, _ in found))
    # not pyplot: it keeps figures in memory and selects a window system
    figure = Figure(figsize=(2.9 * len(structures) + 0.8, 0.9 + 0.3 * len(layers)), layout="constrained")
    panels = figure.subplots(1, len(structures), sharey=True, squeeze=False)[0]
    for panel, structure, colour in zip(panels, structures, COLOURS * len(structures), strict=False):
        rows = [row for row, layer in enumerate(layers) if (layer, structure) in found]
        counts = [found[layers[row], structure] for row in rows]
        panel.barh(rows, [100] * len(rows), color="#eceff1", height=0.75)
        panel.barh(rows, [100 * units / of for units, of in counts], color=colour, height=0.75)
        for row, (units, of) in zip(rows, counts, strict=True):
            inside = units > 0.7 * of
            panel.text(
                100 * units / of + (-2 if inside else 2),
                row,
                f"{units:,}",
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else "black",
                fontsize=8,
            )
        whole = {of for _, of in counts}
        panel.set_title(f"{unit_name(structure)}{f' of {whole.pop():,}' if len(whole) == 1 else ''}", fontsize=10)
        panel.set_xlim(0, 100)
        panel.set_xticks((0, 25, 50, 75))
        panel.set_xlabel("% kept")
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(layers)), [layer.replace("layers.", "layer ") for layer in layers])
    figure.savefig(path, dpi=150)
