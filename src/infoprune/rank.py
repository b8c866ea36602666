"""Rank: statistics and a criterion become an order of removal for every site, of which every budget takes a prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.calibration import Progress
from infoprune.criteria import Criterion
from infoprune.plan import Plan
from infoprune.sites import Site
from infoprune.statistics import Statistics


@dataclass(frozen=True)
class Ranking:
    """The units of one site from the first to go to the last.

    Args:
        site: where.
        order: (units,) unit indices.
        losses: (units,) what each removal costs, given the ones before it; nats for information criteria.
    """

    site: Site
    order: Int[Tensor, " units"]
    losses: Float[Tensor, " units"]


@dataclass(frozen=True)
class Rankings:
    """Rankings of all sites, bottom to top.

    Args:
        sites: by site name.
        model_type: of the model.
        criterion: what ordered the units.
        seed: of the criterion's draws.
        nats: whether the losses are nats at the softmax.
    """

    sites: dict[str, Ranking]
    model_type: str
    criterion: str
    seed: int
    nats: bool

    def among(self, plan: Plan) -> Rankings:
        """The same order among the units that a plan keeps, numbered as in the model after that cut."""
        return replace(self, sites={name: _among(each, plan.kept[name]) for name, each in self.sites.items()})


def _among(ranking: Ranking, kept: tuple[int, ...]) -> Ranking:
    new = torch.full((ranking.site.units,), -1)
    new[list(kept)] = torch.arange(len(kept))
    stays = new[ranking.order] >= 0
    site = replace(ranking.site, units=len(kept))
    return Ranking(site, new[ranking.order][stays], ranking.losses[stays])


def rank(statistics: Statistics, criterion: Criterion, *, seed: int = 0, progress: Progress | None = None) -> Rankings:
    """Orders the units of every site by a criterion.

    Args:
        statistics: from `collect`.
        criterion: for example `ChannelInformation()`.
        seed: for criteria that draw.
        progress: called with (sites done, sites in all).

    Example:
        >>> rankings = rank(collect(model, batches), ChannelInformation())
        >>> rankings.sites["layers.0.ffn"].order[0]  # the neuron that is missed least
        tensor(811)
    """
    generator = torch.Generator().manual_seed(seed)
    ranked = {}
    for name, site in statistics.sites.items():
        elimination = criterion.rank_site(site, generator)
        ranked[name] = Ranking(site.site, elimination.order.cpu(), elimination.losses.cpu())
        if progress is not None:
            progress(len(ranked), len(statistics.sites))
    return Rankings(ranked, statistics.model_type, criterion.name, seed, criterion.nats)
