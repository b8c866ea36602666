"""Rank: turn statistics and a criterion into an order of removal for every site; every budget takes a prefix of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable
from zlib import crc32

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.errors import InputError
from infoprune.kept_neurons import experts_beside
from infoprune.plan import HIDDEN_SIZE, Plan
from infoprune.ranking.criteria import (
    CRITERIA,
    Criterion,
    CriterionWithExtras,
    ExpertCriterion,
    JointCriterion,
    PairedCriterion,
)
from infoprune.ranking.eliminate import Elimination
from infoprune.ranking.experts import Frequency, Reap, experts_only
from infoprune.statistics.calibration import Progress
from infoprune.statistics.pairs import Pairs
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.site import Site

PARTS = 20
"""Number of intervals of the curves."""


@dataclass(frozen=True)
class Ranking:
    """Units of one site in the order of removal.

    Args:
        site: Site of the units.
        order: Unit indices, (units,).
        losses: Loss of each removal, given the ones before it, (units,); nats for information criteria.
        neurons: For neurons inside experts, those of every expert in the order of removal, (experts, units); with unit
            order[i] every expert e loses its neuron neurons[e, i]. None for other units.
    """

    site: Site
    order: Int[Tensor, " units"]
    losses: Float[Tensor, " units"]
    neurons: Int[Tensor, "experts units"] | None = None

    @property
    def lost(self) -> Float[Tensor, " _"]:
        """Loss where only 0, 1, ... units stay, (units + 1,), in the unit of the losses."""
        return torch.cat([self.losses.new_zeros(1), self.losses.cumsum(0)]).flip(0)

    def neurons_left(self, count: int, experts: Sequence[int] | None = None) -> tuple[tuple[int, ...], ...]:
        """Return, for neurons inside experts, those that so many units leave in each of some experts, None for all."""
        if self.neurons is None:
            raise ValueError(f"{self.site.name} has no neurons inside experts")
        rows = (self.neurons if experts is None else self.neurons[list(experts)])[:, self.site.units - count :]
        return tuple(tuple(row) for row in rows.sort(1).values.tolist())


@dataclass(frozen=True)
class Rankings:
    """Rankings of all sites, bottom to top.

    Args:
        sites: Rankings by site name.
        model_type: Model type from the config.
        criterion: Name of the criterion that ordered the units.
        seed: Seed of the criterion's samples.
        nats: Whether the losses are nats at the softmax.
    """

    sites: dict[str, Ranking]
    model_type: str
    criterion: str
    seed: int
    nats: bool

    def curves(self) -> dict[str, tuple[float, ...]]:
        """Return the nats lost where 0, 1/20, ... 20/20 of a site's units stay, by site name; empty without nats.

        Losses between two numbers of units are interpolated linearly.
        """
        return {name: _at_shares(ranking.lost) for name, ranking in self.sites.items()} if self.nats else {}

    def among(self, plan: Plan) -> Rankings:
        """Return the same order among the units that a plan keeps, numbered as in the model after that cut."""
        sites = {name: _among(each, plan) for name, each in self.sites.items() if plan.kept[name]}
        return replace(self, sites=sites)


def _at_shares(lost: Float[Tensor, " _"]) -> tuple[float, ...]:
    points = torch.linspace(0, len(lost) - 1, PARTS + 1, dtype=torch.float64)
    below = points.long().clamp(max=len(lost) - 2)
    between = torch.lerp(lost[below].double(), lost[below + 1].double(), points - below)
    return tuple(float(f"{nats:.6g}") for nats in between.tolist())


def _among(ranking: Ranking, plan: Plan) -> Ranking:
    kept = plan.kept[ranking.site.name]
    site = replace(ranking.site, units=len(kept))
    if ranking.neurons is not None:
        return _neurons_among(ranking, plan, site)
    new = torch.full((ranking.site.units,), -1)
    new[list(kept)] = torch.arange(len(kept))
    stays = new[ranking.order] >= 0
    return Ranking(site, new[ranking.order][stays], ranking.losses[stays])


def _neurons_among(ranking: Ranking, plan: Plan, site: Site) -> Ranking:
    """Return the ranking of the neurons that a plan keeps, which are the last ones of every expert that stays."""
    left = torch.tensor(plan.neurons_left(site.name, ranking.site.neurons.experts if ranking.site.neurons else 0))
    experts = plan.kept.get(experts_beside(site.name), range(len(left)))
    old = ranking.neurons if ranking.neurons is not None else left
    rows = [_renumbered(old[expert], own) for expert, own in zip(experts, left, strict=True)]
    gone = ranking.site.units - site.units
    return Ranking(site, torch.arange(site.units).flip(0), ranking.losses[gone:], torch.stack(rows))


def _renumbered(order: Int[Tensor, " units"], left: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """Return the order of those units that are left, by their new numbers."""
    new = torch.full_like(order, -1)
    new[left] = torch.arange(len(left))
    return new[order][new[order] >= 0]


@runtime_checkable
class SiteBudget(Protocol):
    """A budget that fixes beforehand how many units of a site stay, as `Keep` does."""

    def count(self, site: Site) -> int:
        """Return how many units of a site stay."""


@in_ordinary_mode
def rank(
    statistics: Statistics,
    criterion: Criterion,
    *,
    budget: SiteBudget | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Rankings:
    """Order the units of every site by a criterion.

    A site with `pairs` is ranked after the one above it, and of that one only the units count that the budget
    preserves: such rankings are valid for the budget that they were made for.

    Args:
        statistics: Statistics from `collect`.
        criterion: Criterion, for example `ChannelInformation()`.
        budget: What will be kept, where the statistics have pairs; None preserves everything above.
        seed: Seed for criteria that sample.
        progress: Called with (sites done, sites in all).

    Returns:
        The order of removal of every site, and the losses.

    Examples:
        >>> rankings = rank(collect(model, batches), ChannelInformation())
        >>> rankings.sites["layers.0.ffn"].order.shape  # neurons, the one whose loss is smallest first
        torch.Size([64])
    """
    ranked: dict[str, Ranking] = {}
    parts: dict[str, list[str]] = {}
    for name, each in statistics.sites.items():
        if not each.site.streams:
            parts.setdefault(name if each.site.expert is None else name.rpartition(".")[0], []).append(name)
    names = list(parts)
    paired = isinstance(criterion, PairedCriterion)
    for name in reversed(names) if paired else names:
        if parts[name] != [name]:
            ranked[name] = _neurons_of_experts(name, [statistics.sites[each] for each in parts[name]], criterion, seed)
            continue
        site = statistics.sites[name]
        if site.pairs is not None and budget is not None and site.pairs.above is not None:
            site = _below(site, site.pairs, ranked.get(site.pairs.above.name), budget)
        elimination = _eliminated(site, criterion, _generator(seed, name))
        ranked[name] = Ranking(site.site, elimination.order.cpu(), elimination.losses.cpu())
        if progress is not None:
            progress(len(ranked), len(names))
    ranked = {name: ranked[name] for name in names} | _stream(statistics, criterion, seed)
    return Rankings(ranked, statistics.model_type, criterion.name, seed, criterion.nats)


def _neurons_of_experts(name: str, experts: Iterable[SiteStatistics], criterion: Criterion, seed: int) -> Ranking:
    """Return the ranking of the neurons inside experts: each by itself, and with a unit one neuron of each."""
    orders, losses = [], []
    for each in experts:
        found = _eliminated(each, criterion, _generator(seed, each.site.name))
        orders.append(found.order.cpu())
        # nobody loses anything by an expert that no token reads
        losses.append(found.losses.cpu() * (not criterion.nats or each.tokens.rows > 0))
        site = replace(each.site, name=name, expert=None)
    return Ranking(site, torch.arange(site.units).flip(0), torch.stack(losses).sum(0), torch.stack(orders))


def _eliminated(site: SiteStatistics, criterion: Criterion, generator: torch.Generator) -> Elimination:
    check_criterion(criterion, [site.site])
    if not site.site.whole_experts:
        return criterion.rank_site(site, generator)
    if not isinstance(criterion, ExpertCriterion):
        raise TypeError(f"{criterion.name} ranks no experts")
    return criterion.rank_experts(site, generator)


def check_criterion(criterion: Criterion, sites: Iterable[Site], argument: str = "criterion") -> None:
    """Raise InputError where a criterion cannot rank the units of a site: experts, or anything but experts.

    Args:
        criterion: The criterion.
        sites: Sites to cut.
        argument: Argument that named it, for the message.
    """
    for site in sites:
        if site.neurons is not None and isinstance(criterion, PairedCriterion | CriterionWithExtras):
            others = ", ".join(
                name
                for name, make in CRITERIA.items()
                if not isinstance(make(), PairedCriterion | CriterionWithExtras | Reap | Frequency)
            )
            raise InputError(
                f"criterion {criterion.name!r} has no score for {site.name}, expected one of: {others}; pass e.g. "
                f"`{argument}=information`, or leave {site.structure} out of `structures`"
            )
        if site.whole_experts and not isinstance(criterion, ExpertCriterion):
            others = ", ".join(name for name, make in CRITERIA.items() if isinstance(make(), ExpertCriterion))
            raise InputError(
                f"criterion {criterion.name!r} has no score for {site.name}, expected one of: {others}; pass e.g. "
                f"`{argument}=information`, or leave experts out of `structures`"
            )
        if not site.whole_experts and isinstance(criterion, Reap | Frequency):
            raise experts_only(criterion.name, site, argument)


def _stream(statistics: Statistics, criterion: Criterion, seed: int) -> dict[str, Ranking]:
    """Return the rankings of the coordinates of the residual stream, if its read points have statistics.

    A coordinate that a layer drops is gone for all layers above as well. So a layer's order is that of the losses at
    all read points from there on, and its losses are those at its own points.
    """
    parts: dict[str, list[SiteStatistics]] = {}
    for each in statistics.sites.values():
        if each.site.streams:
            parts.setdefault(_hidden_size_of(each.site), []).append(each)
    ranked = {}
    for index, (name, own) in enumerate(parts.items()):
        from_here_on = [point for part in list(parts.values())[index:] for point in part]
        generator = _generator(seed, name)
        if isinstance(criterion, JointCriterion):
            found = criterion.rank_points(from_here_on, generator, counted=len(own))
        else:
            found = criterion.rank_site(own[0], generator)
        ranked[name] = Ranking(replace(own[0].site, name=name), found.order.cpu(), found.losses.cpu())
    return ranked


def _hidden_size_of(point: Site) -> str:
    """Return the name of the site that a read point of the stream belongs to."""
    return HIDDEN_SIZE if point.structure == HIDDEN_SIZE else f"layers.{point.layer}.{HIDDEN_SIZE}"


def _generator(seed: int, name: str) -> torch.Generator:
    """Return a generator for each site, so that sites ranked one by one do not share samples; seeds have 32 bits."""
    return torch.Generator().manual_seed(crc32(f"{name} {seed}".encode()))


def _below(statistics: SiteStatistics, pairs: Pairs, above: Ranking | None, budget: SiteBudget) -> SiteStatistics:
    """Return the statistics of a site with only the units above it that stay; a site that is not cut stays whole."""
    if above is None:
        return statistics
    removed = above.site.units - budget.count(above.site)
    return replace(statistics, pairs=pairs.preserving(above.order[removed:].tolist()))
