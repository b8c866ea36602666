"""Losses: predicted loss in nats against the share of kept units, as lines in a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from infoprune.reports.render import layer_and_structure, unit_name
from infoprune.reports.report import Report

WIDE, HIGH = 300.0, 160.0
"""Size of the plot area, in the picture's own units."""
DECADES = 5
"""Decades below the largest loss; smaller losses and zero lie on the lower edge."""


@dataclass(frozen=True)
class Line:
    """Curve in a chart.

    Args:
        layer: Layer of the curve.
        points: "x,y x,y ..." from no unit to all.
        strength: Opacity between 0 and 1; the bottom layer is the faintest.
        dot: (x, y) of the kept units, or None.
    """

    layer: str
    points: str
    strength: float
    dot: tuple[float, float] | None


@dataclass(frozen=True)
class Chart:
    """Curves of a type of structure, or of all sites together.

    Args:
        units: Name of the units; empty for all sites together.
        lines: Curves, the bottom layer first.
    """

    units: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Axis:
    """Logarithmic axis of nats, the same for all charts of a page, `DECADES` long.

    Args:
        top: Exponent of ten of its upper end.
    """

    top: int

    @classmethod
    def up_to(cls, most: float) -> Axis:
        """Return the axis that ends at the next power of ten."""
        return cls(math.ceil(math.log10(most)))

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(height, nats) of every power of ten."""
        return [(self.height(10.0**each), f"{10.0**each:g}") for each in range(self.top, self.top - DECADES - 1, -1)]

    def height(self, nats: float) -> float:
        """Return the distance of a number of nats from the upper end."""
        low = self.top - DECADES
        exponent = max(low, math.log10(nats)) if nats > 0 else low
        return round(HIGH * (self.top - exponent) / DECADES, 1)


def loss_axis(report: Report) -> Axis | None:
    """Return the axis for the curves of a report; None where there are none, or all losses are zero."""
    most = max(_together(report), default=0.0)
    return Axis.up_to(most) if most > 0 else None


def charts(report: Report, axis: Axis) -> list[Chart]:
    """Return a chart of all sites together, each keeping the same share, and one for each type of structure.

    Examples:
        >>> [chart.units for chart in charts(report, axis)]
        ['', 'heads', 'neurons']
    """
    structures: dict[str, list[tuple[str, str]]] = {}
    for site in report.curves:
        layer, structure = layer_and_structure(site)
        structures.setdefault(structure, []).append((site, layer.replace("layers.", "")))
    found = [Chart("", (Line("all", _points(_together(report), axis), 1.0, None),))]
    for structure, sites in structures.items():
        lines = [
            Line(
                layer,
                _points(report.curves[site], axis),
                round(0.25 + 0.75 * (number + 1) / len(sites), 2),
                _dot(report.curves[site], report.kept[site], axis),
            )
            for number, (site, layer) in enumerate(sites)
        ]
        found.append(Chart(unit_name(structure), tuple(lines)))
    return found


def _together(report: Report) -> list[float]:
    return [sum(each) for each in zip(*report.curves.values(), strict=False)]


def _points(curve: Sequence[float], axis: Axis) -> str:
    step = WIDE / (len(curve) - 1)
    return " ".join(f"{step * number:g},{axis.height(nats):g}" for number, nats in enumerate(curve))


def _dot(curve: Sequence[float], kept: tuple[int, int], axis: Axis) -> tuple[float, float]:
    share = kept[0] / kept[1]
    below = min(int(share * (len(curve) - 1)), len(curve) - 2)
    part = share * (len(curve) - 1) - below
    heights = [axis.height(nats) for nats in curve[below : below + 2]]  # on the line, whose parts are straight
    return round(WIDE * share, 1), round(heights[0] + part * (heights[1] - heights[0]), 1)
