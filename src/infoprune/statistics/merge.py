"""Merge: combine the statistics of several sets of inputs into those of all inputs."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import torch

from infoprune.errors import InputError
from infoprune.statistics.on_disk import on_disk
from infoprune.statistics.routes import Routes
from infoprune.statistics.statistics import SiteStatistics, SomeSites, Statistics
from infoprune.structure.modes import in_ordinary_mode


@in_ordinary_mode
def merge_statistics(first: Statistics, *others: Statistics) -> Statistics:
    """Merge statistics of one model on several sets of inputs; any split of the inputs gives those of the whole.

    Args:
        first: Statistics from `collect` or `load_statistics`.
        others: Statistics of the same sites of the same model, collected with the same settings. Those that lie on disk
            are merged there, one site at a time. Masks and activation norms are kept where all have them.

    Returns:
        The statistics of all inputs.

    Raises:
        InputError: They are of other sites, other weights or other settings.

    Examples:
        >>> parts = [collect(model, batches[:3]), collect(model, batches[3:])]
        >>> merge_statistics(*parts).inputs
        216
    """
    return reduce(_merged, others, first)


def _merged(a: Statistics, b: Statistics) -> Statistics:
    if a.model_type != b.model_type or list(a.sites) != list(b.sites):
        raise InputError(
            f"statistics of {len(b.sites)} sites of a {b.model_type} cannot be merged into those of {len(a.sites)} "
            f"sites of a {a.model_type}, expected the same sites; collect all with the same structures"
        )
    inputs, tokens = a.inputs + b.inputs, a.tokens + b.tokens
    sites = SomeSites(a.sites, lambda name: _merged_site(a.sites[name], b.sites[name], b.inputs / inputs))
    # without sites, as in what a repair needs, there is nothing to lie on disk
    in_memory = not a.sites or (isinstance(a.sites, dict) and isinstance(b.sites, dict))
    found = Statistics(
        dict(sites) if in_memory else sites,
        a.model_type,
        inputs,
        tokens,
        {name: each + b.importance[name] for name, each in a.importance.items()},
        {name: (each * a.tokens + b.levels[name] * b.tokens) / tokens for name, each in a.levels.items()},
        a.keys + b.keys,
        {name: torch.lerp(a.fisher[name], b.fisher[name], b.inputs / inputs) for name in a.fisher if name in b.fisher},
    )
    return found if in_memory else on_disk(found)


def _merged_site(a: SiteStatistics, b: SiteStatistics, share: float) -> SiteStatistics:
    """Merge the statistics of one site; `share` is the share of b's inputs in all inputs."""
    if a.site != b.site or not torch.equal(a.reader, b.reader):
        raise InputError(
            f"the statistics of {a.site.name} are of two models with other weights, expected the same model; "
            "collect them anew from one checkpoint"
        )
    if (a.smoothing, a.shrinkage) != (b.smoothing, b.shrinkage):
        raise InputError(
            f"the statistics have smoothing {a.smoothing:g} and shrinkage {a.shrinkage:g}, the others "
            f"{b.smoothing:g} and {b.shrinkage:g}, expected the same; collect all with the same settings"
        )
    tokens, importance = a.tokens.scaled(1.0), a.importance.scaled(1.0)
    tokens.merge(b.tokens)
    importance.merge(b.importance)
    return replace(
        a,
        tokens=tokens,
        importance=importance,
        fisher=torch.lerp(a.fisher, b.fisher, share),
        pairs=None,
        masks=None if a.masks is None or b.masks is None else torch.cat([a.masks, b.masks]),
        activation_norm=None
        if a.activation_norm is None or b.activation_norm is None
        else torch.hypot(a.activation_norm, b.activation_norm),
        routes=None if a.routes is None or b.routes is None else _merged_routes(a.routes, b.routes, share),
    )


def _merged_routes(a: Routes, b: Routes, share: float) -> Routes:
    return Routes(
        logits=torch.cat([a.logits, b.logits]),
        products=torch.cat([a.products * (1 - share) ** 0.5, b.products * share**0.5]),
        lengths=a.lengths + b.lengths,
        counts=a.counts + b.counts,
    )
