"""Shape: which numbers of units go together, such that a stock config supports them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from transformers import PreTrainedModel

from infoprune.budgets.budget import Keep
from infoprune.budgets.rounding import FINEST, sizes
from infoprune.errors import InputError
from infoprune.plan import HIDDEN_SIZE
from infoprune.structure.embeddings import count_rows, count_tokens
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, family_named, find_sites, sites_by_name
from infoprune.structure.stock import allowed, equal_size_groups, fields_of, linked


@dataclass(frozen=True)
class Shape:
    """Sizes that are permitted together.

    Args:
        groups: Names of the sites that share one number of units, group by group.
        fixed: Numbers of units by site name for the sites whose sizes depend on one another: one mapping for every
            permitted combination. A site is either here or in a group.
    """

    groups: tuple[tuple[str, ...], ...]
    fixed: tuple[Mapping[str, int], ...]


def free_shape(permitted: Mapping[str, Sequence[int]]) -> Shape:
    """Return the shape in which every site has its own size; a hidden size is fixed, since other costs depend on it."""
    groups = tuple((name,) for name in permitted if name != HIDDEN_SIZE)
    return Shape(
        groups, tuple({HIDDEN_SIZE: size} for size in permitted[HIDDEN_SIZE]) if HIDDEN_SIZE in permitted else ({},)
    )


def uniform_shape(model: PreTrainedModel, structures: Collection[str], *, multiple: int = FINEST) -> Shape:
    """Return the shapes that plain transformers can open: one number for all layers, dependent sizes together.

    Args:
        model: The model to cut.
        structures: Types of structure to cut; see `uniform_structures`.
        multiple: Factor of all numbers of neurons and coordinates.

    Raises:
        InputError: A stock config of this family has no field for fewer units of such a type, or not for them alone.
    """
    names = {site.name for site in find_sites(model, structures)}
    _check_stock(model)
    cut = [same for same in equal_size_groups(sites_by_name(model).values()) if names & {site.name for site in same}]
    for same in cut:
        if not same[0].config:
            raise InputError(
                f"`shape=uniform` was given, but a stock config of {model.config.model_type!r} has no field for fewer "
                f"{same[0].structure}; pass `shape=free`, or leave {same[0].structure} out of `structures`"
            )
    together = linked(every_site(model))
    bound = [same for same in cut if together & {field.name for field in same[0].config}]
    alone = tuple(tuple(site.name for site in same) for same in cut if same not in bound)
    fixed = tuple(_combinations(bound, every_site(model), multiple))
    if bound and len(fixed) < 2:
        structures_bound = " and ".join(dict.fromkeys(site.structure for same in bound for site in same))
        raise InputError(
            f"`shape=uniform` was given, but a stock config of {model.config.model_type!r} does not support fewer "
            f"{structures_bound} alone: {_depends(every_site(model))}; "
            "cut heads and hidden-size together, or pass `shape=free`"
        )
    return Shape(alone, fixed)


def _check_stock(model: PreTrainedModel) -> None:
    """Raise InputError where a stock config does not support the sizes of the model as it is."""
    if count_rows(model) < count_tokens(model):
        raise InputError(
            "`shape=uniform` was given, but plain transformers cannot open the model as it is: some of its tokens "
            "are remapped; pass `shape=free`, or cut the original model with `dropped_tokens=pieces`"
        )
    every = every_site(model, empty=True)
    written = fields_of(every, {})
    for site in every:
        if any(field.name not in written for field in site.config):
            raise InputError(
                f"`shape=uniform` was given, but plain transformers cannot open the model as it is: {site.name} was "
                "cut before in a way that its config has no field for; start from the original model, or pass "
                "`shape=free`"
            )


def uniform_structures(model: PreTrainedModel, structures: Collection[str] | None) -> tuple[str, ...]:
    """Return the types of structure to cut in a uniform shape: the given ones, and those that depend on them.

    By default these are all types in the layers that have a field in the config; where the config ties heads and hidden
    size, both. A classifier's hidden layer of the hidden size is cut with it.
    """
    family = family_named(model.config.model_type, structures)
    there = {site.structure for site in every_site(model)}
    if structures is None:
        named = {site.structure for site in find_sites(model) if site.config}
        bound = any(field.fills for site in find_sites(model) for field in site.config)
        if bound and HIDDEN_SIZE not in there:  # heads stay whole where the hidden size cannot be cut
            named -= {site.structure for site in find_sites(model) if any(field.fills for field in site.config)}
        chosen = [structure for structure in family.structures if structure in named] + (
            [HIDDEN_SIZE] if bound and HIDDEN_SIZE in there else []
        )
    else:
        chosen = list(structures)
    follow = [
        structure
        for structure in ("pooler",)
        if HIDDEN_SIZE in chosen and structure in there and structure not in chosen
    ]
    return (*chosen, *follow)


def share_counts(
    model: PreTrainedModel, structures: Collection[str] | None, share: float, shape: Shape | None
) -> dict[str, int]:
    """Return how many units every site keeps where all keep the same share, as nearly as the shape permits."""
    sites = {site.name: site for site in find_sites(model, structures)}
    if shape is None:
        return {name: Keep(share).count(site) for name, site in sites.items()}
    found = {name: Keep(share).count(sites[name]) for group in shape.groups for name in group}
    nearest = min(shape.fixed, key=lambda each: sum((n / sites[name].units - share) ** 2 for name, n in each.items()))
    return found | dict(nearest)


def _combinations(bound: Sequence[Sequence[Site]], every: Sequence[Site], multiple: int) -> Iterator[dict[str, int]]:
    """Yield all numbers of units, by name of the sites that depend on one another, that a stock config supports."""
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
    """Return the numbers of units that all of some sites may keep."""
    return sorted(set(sizes(same[0], multiple)).intersection(*(sizes(site, multiple) for site in same)))


def _depends(sites: Sequence[Site]) -> str:
    """Return a sentence on the fields of the config that depend on one another."""
    field = next(f for site in sites for f in site.config if f.fills or f.divides)
    if field.fills:
        return f"its {field.fills.name} is {field.name} x the size of a head"
    return f"its {field.divides.name if field.divides else ''} is a multiple of {field.name}"
