"""Catalogue: what is supported, as one table for the command line, the docs and whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infoprune.families import FAMILIES, Family, Setting, SiteRow


@dataclass(frozen=True)
class Entry:
    """One kind of site of one family, in words.

    Args:
        model_type: as in config.json.
        models: what people know the family by.
        kind: of site.
        unit: what is kept or goes.
        opens: what opens a model that is cut there.
        repair: whether what is left can be re-fitted.
    """

    model_type: str
    models: str
    kind: str
    unit: str
    opens: str
    repair: str


COLUMNS = ("model type", "such as", "site", "unit", "after a cut loads in", "repair")


def catalogue() -> list[Entry]:
    """All families and their sites, in the order of the table."""
    return [
        Entry(family.model_type, family.models, kind, unit, _opens(family, config), "no" if family.shared else "yes")
        for family in FAMILIES.values()
        for kind, unit, config in _sites(family)
    ]


def _sites(family: Family) -> Iterator[tuple[str, str, tuple[Setting, ...]]]:
    """(kind, unit, fields of the config) of every site."""
    for name, stack in family.stacks.items():
        for row in stack.sites:
            yield (row.kind if name == "layers" else f"{name} {row.kind}"), _unit(row), row.config
    for row in family.top:
        yield row.kind, "neuron", row.config
    if family.width is not None:
        yield "width", "coordinate", family.width.config
    if "layer-width" in family.more_kinds:
        yield "layer-width", "coordinate of one layer", ()


def markdown() -> str:
    """The catalogue as the table of docs/families.md."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [(f"`{e.model_type}`", e.models, e.kind, e.unit, e.opens, e.repair) for e in catalogue()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _unit(row: SiteRow) -> str:
    if row.kind == "ffn":
        return "neuron"
    return "key/value head with its query heads" if len(row.unit_size) > 1 else "head"


def _opens(family: Family, config: tuple[Setting, ...]) -> str:
    if not config:
        return "infoprune only"
    sized = [field for field in config if not field.fixed]
    if any(field.fills for field in sized):
        return f"transformers, with the width to match (config field {sized[0].name})"
    rows = [row for stack in family.stacks.values() for row in stack.sites]
    if {field.fills for row in rows for field in row.config} & {field.name for field in sized}:
        return f"transformers, with the heads to match (config field {sized[0].name})"
    divides = "".join(f", if it divides {field.divides}" for field in sized if field.divides)
    return f"transformers (config field {', '.join(field.name for field in sized)}{divides})"
