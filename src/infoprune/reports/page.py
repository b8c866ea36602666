"""Page: a report as one self-contained HTML file, with a light and a dark theme."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from infoprune.reports.losses import HIGH, WIDE, charts, loss_axis
from infoprune.reports.render import (
    FOLDER,
    cost_rows,
    heading,
    kept_in_words,
    layer_and_structure,
    opening,
    summary,
    unit_name,
)
from infoprune.reports.report import Report
from infoprune.reports.samples import Samples
from infoprune.tasks.table import reads_of


@dataclass(frozen=True)
class Bar:
    """A site in the picture: its layer, kept units and original units."""

    layer: str
    kept: int
    of: int


@dataclass(frozen=True)
class Panel:
    """A type of structure in the picture, the top layer first."""

    units: str
    bars: tuple[Bar, ...]


def page(report: Report, name: str = FOLDER, samples: Samples | None = None) -> str:
    """Return the text of report.html: table, units kept in every layer, losses in nats and their curves, samples.

    Args:
        report: Report of the prune.
        name: Name of the folder in the code that opens it.
        samples: Evaluation inputs with the answers of both models.

    Examples:
        >>> page(report)[:15]
        '<!doctype html>'
    """
    axis = loss_axis(report)
    return _template().render(
        title=heading(report),
        family=report.family,
        task=report.task,
        kept=kept_in_words(report.kept),
        rows=cost_rows(report),
        shape=report.shape,
        panels=panels(report.kept),
        losses=losses(report),
        axis=axis,
        charts=[] if axis is None else charts(report, axis),
        lost=report.nats_lost,
        wide=WIDE,
        high=HIGH,
        still=None if report.kl is None else math.exp(-max(report.kl, 0.0)),
        summary=summary(report),
        opening=opening(report, name),
        samples=samples or Samples(),
        reads=reads_of(report.task),
    )


def panels(kept: Mapping[str, tuple[int, int]]) -> list[Panel]:
    """Return the contents of the picture: a panel for each type of structure.

    Examples:
        >>> panels({"layers.0.ffn": (384, 1536)})
        [Panel(units='neurons', bars=(Bar(layer='0', kept=384, of=1536),))]
    """
    found: dict[str, list[Bar]] = {}
    for site, (units, of) in kept.items():
        layer, structure = layer_and_structure(site)
        found.setdefault(structure, []).append(Bar(layer.replace("layers.", ""), units, of))
    return [Panel(unit_name(structure), tuple(reversed(bars))) for structure, bars in found.items()]


def losses(report: Report) -> list[tuple[str, float]]:
    """Return the predicted and the measured loss in nats per input, where known."""
    pairs = [
        (f"predicted on {report.samples:,} calibration inputs", report.nats_lost),
        ("measured on evaluation inputs, KL(dense || pruned)", report.kl),
    ]
    return [(name, value) for name, value in pairs if value is not None]


@cache
def _template() -> Template:
    loader = PackageLoader("infoprune.reports", "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(
        "page.html"
    )
