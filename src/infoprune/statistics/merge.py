"""Merge: statistics of several sets of inputs become those of all of them."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import torch

from infoprune.errors import InputError
from infoprune.statistics.groups import on_disk
from infoprune.statistics.statistics import SiteStatistics, SomeSites, Statistics


def merge_statistics(first: Statistics, *others: Statistics) -> Statistics:
    """The statistics of the inputs of all, from the same model; any split of the inputs gives those of the whole.

    Args:
        first: from `collect` or `load_statistics`.
        others: of the same sites of the same model, collected with the same settings. Those that lie on disk are merged
            there, one site at a time. Masks and loudness stay where all have them.

    Raises:
        InputError: they are of other sites, other weights or other settings.

    Example:
        >>> halves = [collect(model, batches[:16]), collect(model, batches[16:])]
        >>> merge_statistics(*halves).inputs
        1024
    """
    return reduce(_merged, others, first)


def _merged(a: Statistics, b: Statistics) -> Statistics:
    if a.model_type != b.model_type or list(a.sites) != list(b.sites):
        raise InputError(
            f"statistics of {len(b.sites)} sites of a {b.model_type} were to be merged into those of {len(a.sites)} "
            f"sites of a {a.model_type}, expected the same sites; collect them alike"
        )
    inputs, tokens = a.inputs + b.inputs, a.tokens + b.tokens
    sites = SomeSites(a.sites, lambda name: _merged_site(a.sites[name], b.sites[name], b.inputs / inputs))
    in_memory = isinstance(a.sites, dict) and isinstance(b.sites, dict)
    found = Statistics(
        dict(sites) if in_memory else sites,
        a.model_type,
        inputs,
        tokens,
        {name: each + b.worth[name] for name, each in a.worth.items()},
        {name: (each * a.tokens + b.levels[name] * b.tokens) / tokens for name, each in a.levels.items()},
        a.keys + b.keys,
    )
    return found if in_memory else on_disk(found)


def _merged_site(a: SiteStatistics, b: SiteStatistics, share: float) -> SiteStatistics:
    """Statistics of one site on the inputs of both, of which a share are those of b."""
    if a.site != b.site or not torch.equal(a.reader, b.reader):
        raise InputError(
            f"the statistics of {a.site.name} are of two models with other weights, expected the same model; "
            "collect them anew from one checkpoint"
        )
    if (a.floor, a.ridge) != (b.floor, b.ridge):
        raise InputError(
            f"the statistics have floor {a.floor:g} and ridge {a.ridge:g}, the others {b.floor:g} and {b.ridge:g}, "
            "expected the same; collect them alike"
        )
    tokens, worth = a.tokens.scaled(1.0), a.worth.scaled(1.0)
    tokens.merge(b.tokens)
    worth.merge(b.worth)
    return replace(
        a,
        tokens=tokens,
        worth=worth,
        demand=torch.lerp(a.demand, b.demand, share),
        pairs=None,
        masks=None if a.masks is None or b.masks is None else torch.cat([a.masks, b.masks]),
        loudness=None if a.loudness is None or b.loudness is None else torch.hypot(a.loudness, b.loudness),
    )
