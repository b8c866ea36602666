"""Stock: the sizes of sites that a config of plain transformers can express."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from infoprune.plan import VOCABULARY
from infoprune.structure.site import Site

Counts = Mapping[str, tuple[int, int]]
"""(kept, of) by site name, as in a plan."""


def equal_size_groups(sites: Iterable[Site]) -> list[list[Site]]:
    """Group sites by the number of a stock config: by config field, or by type and stack where there is no field."""
    groups: dict[tuple[str, ...], list[Site]] = {}
    for site in sites:
        key = (site.config[0].name,) if site.config else (site.stack, site.structure)
        groups.setdefault(key, []).append(site)
    return list(groups.values())


def fields_of(sites: Collection[Site], units: Mapping[str, int]) -> dict[str, int]:
    """Return the config fields, with their values, in which a stock config expresses the sizes of a model.

    A field is left out where its value differs from layer to layer. Fields that depend on one another (in BERT all
    heads together have the size of the residual stream) are left out all together where one of them is left out or
    where they contradict one another.

    Args:
        sites: All sites of the model (`every_site`).
        units: Number of units by site name; sites that are not named keep theirs.
    """
    found: dict[str, int] = {}
    fit = True
    bound = linked(sites)
    for same in equal_size_groups(sites):
        kept = {units.get(site.name, site.units) for site in same}
        values = {field.name: field.of(units.get(site.name, site.units)) for site in same for field in site.config}
        one = len(kept) == 1 and kept != {0}  # no stock config has a layer without heads or neurons
        found |= values if one else {}
        fit = fit and (one or not bound & values.keys())
    fit = fit and all(allowed(site, units.get(site.name, site.units), found) for site in sites)
    return found if fit else {name: value for name, value in found.items() if name not in bound}


def allowed(site: Site, units: int, fields: Mapping[str, int]) -> bool:
    """Return whether a stock config can express this number of units together with the values of other fields."""
    return all(
        (field.fills is None or fields.get(field.fills.name, field.fills.value) == units * site.size)
        and (field.divides is None or fields.get(field.divides.name, field.divides.value) % field.of(units) == 0)
        for field in site.config
    )


def loads_in(sites: Collection[Site], counts: Counts) -> str:
    """Return which library loads a model after a cut.

    Args:
        sites: All sites of the dense model (`every_site`).
        counts: (kept, of) by site name, as in a plan.

    Returns:
        "transformers" if a stock config can express the shapes, else "infoprune".
    """
    known = {site.name for site in sites} | {VOCABULARY}
    if any(kept < of for name, (kept, of) in counts.items() if name not in known):  # the hidden size of one layer
        return "infoprune"
    fields = fields_of(sites, {name: kept for name, (kept, _) in counts.items()})
    for site in sites:
        kept, of = counts.get(site.name, (site.units, site.units))
        if kept < of and not (site.config and all(fields.get(field.name) == field.of(kept) for field in site.config)):
            return "infoprune"
    return "transformers"


def linked(sites: Collection[Site]) -> set[str]:
    """Return the fields that depend on others or that others depend on, and those written together with them."""
    found: set[str] = set()
    for site in sites:
        others = {each.name for field in site.config for each in (field.fills, field.divides) if each is not None}
        found |= others | ({field.name for field in site.config} if others else set())
    together = [{field.name for field in site.config} for site in sites]
    return found.union(*(names for names in together if names & found))
