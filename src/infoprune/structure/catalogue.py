"""Catalogue: the supported families and their sites as one table, for the command line and the docs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infoprune.families import FAMILIES, Family, Setting, SiteRow


@dataclass(frozen=True)
class Entry:
    """One type of structure of one family, as text.

    Args:
        model_type: As in config.json.
        models: Well-known models of the family.
        structure: Type of structure.
        unit: What is kept or removed.
        opens: How a model opens in which this structure is cut by the same number in every layer.
        repair: Whether the repair can re-fit the model, "yes" or "no".
    """

    model_type: str
    models: str
    structure: str
    unit: str
    opens: str
    repair: str


COLUMNS = ("model type", "such as", "type of structure", "unit", "after an equal cut opens in", "repair")


def catalogue() -> list[Entry]:
    """Return all families and their types of structure, in the order of the table."""
    return [
        Entry(
            family.model_type, family.models, structure, unit, _opens(family, config), "no" if family.shared else "yes"
        )
        for family in FAMILIES.values()
        for structure, unit, config in _sites(family)
    ]


def _sites(family: Family) -> Iterator[tuple[str, str, tuple[Setting, ...]]]:
    """Yield (type of structure, unit, config fields) for every row of a family."""
    for name, stack in family.stacks.items():
        for row in {row.structure: row for row in stack.sites}.values():
            yield (row.structure if name == "layers" else f"{name} {row.structure}"), _unit(row), row.config
    for row in family.top:
        yield row.structure, "neuron", row.config
    if family.hidden_size is not None:
        yield "hidden-size", "coordinate of the residual stream", family.hidden_size.config
    if "hidden-size-per-layer" in family.more_structures:
        yield "hidden-size-per-layer", "coordinate of the residual stream in one layer", ()


def catalogue_markdown() -> str:
    """Return the catalogue as the Markdown table of docs/concepts/families.md."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [(f"`{e.model_type}`", e.models, e.structure, e.unit, e.opens, e.repair) for e in catalogue()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _unit(row: SiteRow) -> str:
    if row.structure == "ffn":
        return "neuron"
    if row.neurons is not None:
        return "neuron of every expert"
    if row.experts is not None:
        return "expert"
    return "key/value head with its query heads" if len(row.unit_size) > 1 else "head"


def _opens(family: Family, config: tuple[Setting, ...]) -> str:
    if not config:
        return "transformers after import infoprune"
    sized = [field for field in config if not field.fixed]
    if any(field.fills for field in sized):
        return f"transformers, with the hidden size to match (config field {sized[0].name})"
    rows = [row for stack in family.stacks.values() for row in stack.sites]
    if {field.fills for row in rows for field in row.config} & {field.name for field in sized}:
        return f"transformers, with the heads to match (config field {sized[0].name})"
    top, stream = (row.config for row in family.top), family.hidden_size.config if family.hidden_size else ()
    if {field.name for each in top for field in each} & {field.name for field in stream} & {sized[0].name}:
        return f"transformers, if hidden size and pooler stay equal (config field {sized[0].name})"
    divides = "".join(f", if it divides {field.divides}" for field in sized if field.divides)
    return f"transformers (config field {', '.join(field.name for field in sized)}{divides})"
