"""Stock: what a config of plain transformers can say of the sizes of sites."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from infoprune.plan import VOCABULARY
from infoprune.structure.site import Site

Counts = Mapping[str, tuple[int, int]]
"""(kept, of) by site name, as in a plan."""


def alike(sites: Iterable[Site]) -> list[list[Site]]:
    """Sites for which a stock config has one number: of one kind in one stack, or wherever they share a field."""
    groups: dict[tuple[str, ...], list[Site]] = {}
    for site in sites:
        words = (site.config[0].name,) if site.config else (site.stack, site.kind)
        groups.setdefault(words, []).append(site)
    return list(groups.values())


def fields_of(sites: Collection[Site], units: Mapping[str, int]) -> dict[str, int]:
    """The fields that a stock config would have to say, with their values.

    Sizes that depend on one another (in BERT the heads together are as wide as the stream) are left out all together
    where they do not go together; others, where they differ from layer to layer.

    Args:
        sites: all of a model (`every_site`).
        units: by site name; those that are not named stay as they are.
    """
    found: dict[str, int] = {}
    fit = True
    bound = linked(sites)
    for same in alike(sites):
        kept = {units.get(site.name, site.units) for site in same}
        words = {field.name: field.of(units.get(site.name, site.units)) for site in same for field in site.config}
        one = len(kept) == 1 and kept != {0}  # no stock config has a layer without heads or neurons
        found |= words if one else {}
        fit = fit and (one or not bound & words.keys())
    fit = fit and all(allowed(site, units.get(site.name, site.units), found) for site in sites)
    return found if fit else {name: value for name, value in found.items() if name not in bound}


def allowed(site: Site, units: int, fields: Mapping[str, int]) -> bool:
    """Whether a stock config can say a number of units beside the values of other fields."""
    return all(
        (field.fills is None or fields.get(field.fills.name, field.fills.value) == units * site.size)
        and (field.divides is None or fields.get(field.divides.name, field.divides.value) % field.of(units) == 0)
        for field in site.config
    )


def loads_in(sites: Collection[Site], counts: Counts) -> str:
    """What can open a model after a cut: "transformers" if a stock config can say its shapes, else "infoprune".

    Args:
        sites: all of the dense model (`every_site`).
        counts: (kept, of) by site name, as in a plan.
    """
    known = {site.name for site in sites} | {VOCABULARY}
    if any(kept < of for name, (kept, of) in counts.items() if name not in known):  # a width of one layer
        return "infoprune"
    fields = fields_of(sites, {name: kept for name, (kept, _) in counts.items()})
    for site in sites:
        kept, of = counts.get(site.name, (site.units, site.units))
        if kept < of and not (site.config and all(fields.get(field.name) == field.of(kept) for field in site.config)):
            return "infoprune"
    return "transformers"


def linked(sites: Collection[Site]) -> set[str]:
    """Fields that depend on others, or that others depend on, and those that are written together with one of them."""
    found: set[str] = set()
    for site in sites:
        others = {each.name for field in site.config for each in (field.fills, field.divides) if each is not None}
        found |= others | ({field.name for field in site.config} if others else set())
    together = [{field.name for field in site.config} for site in sites]
    return found.union(*(names for names in together if names & found))
