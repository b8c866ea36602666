"""Shape: which numbers of units go together, so that a stock config can say them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from transformers import PreTrainedModel

from infoprune.budgets.budget import Keep
from infoprune.budgets.rounding import FINEST, sizes
from infoprune.errors import InputError
from infoprune.plan import WIDTH
from infoprune.structure.embeddings import count_rows, count_tokens
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, family_named, find_sites, sites_by_name
from infoprune.structure.stock import alike, allowed, fields_of, linked


@dataclass(frozen=True)
class Shape:
    """Sizes that may be asked for together.

    Args:
        groups: names of sites that have one number of units.
        fixed: numbers of units, by name, of the sites whose sizes depend on one another: one mapping for every
            combination that there is. A site is either here or in a group.
    """

    groups: tuple[tuple[str, ...], ...]
    fixed: tuple[Mapping[str, int], ...]


def free_shape(permitted: Mapping[str, Sequence[int]]) -> Shape:
    """Every site by itself; only a width is tried size by size, since what all other sites cost depends on it."""
    groups = tuple((name,) for name in permitted if name != WIDTH)
    return Shape(groups, tuple({WIDTH: size} for size in permitted[WIDTH]) if WIDTH in permitted else ({},))


def uniform_shape(model: PreTrainedModel, kinds: Collection[str], *, multiple: int = FINEST) -> Shape:
    """The shapes that plain transformers can open: one number for all layers, and those together that depend on others.

    Args:
        model: that is cut.
        kinds: of site that are cut; see `uniform_kinds`.
        multiple: of which numbers of neurons and coordinates have to be.

    Raises:
        InputError: a stock config of this family has no word for fewer units of such a kind, or not for them alone.
    """
    names = {site.name for site in find_sites(model, kinds)}
    _check_stock(model)
    cut = [same for same in alike(sites_by_name(model).values()) if names & {site.name for site in same}]
    for same in cut:
        if not same[0].config:
            raise InputError(
                f"shape uniform was asked for, but a stock config of {model.config.model_type!r} has no word for fewer "
                f"{same[0].kind}; use shape free, or leave {same[0].kind} out of sites"
            )
    together = linked(every_site(model))
    bound = [same for same in cut if together & {field.name for field in same[0].config}]
    alone = tuple(tuple(site.name for site in same) for same in cut if same not in bound)
    fixed = tuple(_combinations(bound, every_site(model), multiple))
    if bound and len(fixed) < 2:
        kinds_bound = " and ".join(dict.fromkeys(site.kind for same in bound for site in same))
        raise InputError(
            f"shape uniform was asked for, but a stock config of {model.config.model_type!r} cannot say fewer "
            f"{kinds_bound} alone: {_depends(every_site(model))}; cut heads and width together, or use shape free"
        )
    return Shape(alone, fixed)


def _check_stock(model: PreTrainedModel) -> None:
    """Raises InputError where a stock config cannot even say the model as it is."""
    if count_rows(model) < count_tokens(model):
        raise InputError(
            "shape uniform was asked for, but plain transformers cannot open the model as it is: some of its tokens "
            "read the rows of others; use shape free, or cut the dense model with --dropped-tokens pieces"
        )
    every = every_site(model, empty=True)
    said = fields_of(every, {})
    for site in every:
        if any(field.name not in said for field in site.config):
            raise InputError(
                f"shape uniform was asked for, but plain transformers cannot open the model as it is: {site.name} was "
                "cut before in a way that its config has no word for; start from the dense model, or use shape free"
            )


def uniform_kinds(model: PreTrainedModel, kinds: Collection[str] | None) -> tuple[str, ...]:
    """The kinds of site to cut in a uniform shape: those that were asked for, and what a stock config ties to them.

    By default all that stand in the layers and have a word in the config; where heads and width go together, both. A
    classifier's hidden layer that is as wide as the stream goes with it.
    """
    family = family_named(model.config.model_type, kinds)
    there = {site.kind for site in every_site(model)}
    if kinds is None:
        said = {site.kind for site in find_sites(model) if site.config}
        bound = any(field.fills for site in find_sites(model) for field in site.config)
        if bound and WIDTH not in there:  # a width that cannot be cut leaves the heads whole
            said -= {site.kind for site in find_sites(model) if any(field.fills for field in site.config)}
        chosen = [kind for kind in family.kinds if kind in said] + ([WIDTH] if bound and WIDTH in there else [])
    else:
        chosen = list(kinds)
    follow = [kind for kind in ("pooler",) if WIDTH in chosen and kind in there and kind not in chosen]
    return (*chosen, *follow)


def share_counts(
    model: PreTrainedModel, kinds: Collection[str] | None, share: float, shape: Shape | None
) -> dict[str, int]:
    """How many units of every site stay where all keep the same share, as nearly as the shape lets them."""
    sites = {site.name: site for site in find_sites(model, kinds)}
    if shape is None:
        return {name: Keep(share).count(site) for name, site in sites.items()}
    found = {name: Keep(share).count(sites[name]) for group in shape.groups for name in group}
    nearest = min(shape.fixed, key=lambda each: sum((n / sites[name].units - share) ** 2 for name, n in each.items()))
    return found | dict(nearest)


def _combinations(bound: Sequence[Sequence[Site]], every: Sequence[Site], multiple: int) -> Iterator[dict[str, int]]:
    """All numbers of units of sites that depend on one another which a stock config can say."""
    targets = {each.name for site in every for field in site.config for each in (field.fills, field.divides) if each}
    wide = [same for same in bound if targets & {field.name for field in same[0].config}]
    others = [same for same in bound if same not in wide]
    for chosen in product(*(_common(same, multiple) for same in wide)):
        fields = {f.name: f.of(n) for same, n in zip(wide, chosen, strict=True) for f in same[0].config}
        fitting = [
            [n for n in _common(same, multiple) if all(allowed(site, n, fields) for site in same)] for same in others
        ]
        cut = {site.name for same in bound for site in same}
        if not all(allowed(site, site.units, fields) for site in every if site.name not in cut):
            continue
        for rest in product(*fitting):
            pairs = zip((*wide, *others), (*chosen, *rest), strict=True)
            yield {site.name: n for same, n in pairs for site in same}


def _common(same: Sequence[Site], multiple: int) -> list[int]:
    """Numbers of units that all of some sites may keep."""
    return sorted(set(sizes(same[0], multiple)).intersection(*(sizes(site, multiple) for site in same)))


def _depends(sites: Sequence[Site]) -> str:
    """In words, what a config ties together."""
    field = next(f for site in sites for f in site.config if f.fills or f.divides)
    if field.fills:
        return f"its {field.fills.name} is {field.name} x the size of a head"
    return f"its {field.divides.name if field.divides else ''} is a multiple of {field.name}"
