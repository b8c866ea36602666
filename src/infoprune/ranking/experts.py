"""Scores of experts: published criteria that score every expert of a layer by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from infoprune.errors import InputError
from infoprune.ranking.eliminate import Elimination, by_score
from infoprune.statistics.routes import Routes
from infoprune.statistics.statistics import SiteStatistics
from infoprune.structure.site import Site


@dataclass(frozen=True)
class Reap:
    r"""Router-weighted activation: score_e = mean over the tokens that read expert e of a_te |f_e(x_t)|.

    Source:
        M. Lasby et al., *REAP the experts: why pruning prevails for one-shot MoE compression*, 2025, equation (9). An
        expert that no token reads has the score 0.
    """

    name: str = "reap"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Raise InputError: units other than experts have no router."""
        raise experts_only(self.name, statistics.site)

    def rank_experts(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the experts by score, the smallest first; the losses are the scores."""
        routes = routes_of(statistics)
        return by_score(routes.lengths / routes.counts.clamp_min(1))


@dataclass(frozen=True)
class Frequency:
    """Number of tokens that read an expert.

    Source:
        Used as the baseline in most work on pruning experts, such as X. Lu et al., *Not all experts are equal*, ACL
        2024.
    """

    name: str = "frequency"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Raise InputError: units other than experts have no router."""
        raise experts_only(self.name, statistics.site)

    def rank_experts(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the experts by their numbers of tokens, the smallest first; the losses are these numbers."""
        return by_score(routes_of(statistics).counts)


def routes_of(statistics: SiteStatistics) -> Routes:
    """Return the routes of a site with experts.

    Raises:
        InputError: It has none.
    """
    if statistics.routes is None:
        raise InputError(
            f"the statistics of {statistics.site.name} have no routes, expected those of experts; collect them anew"
        )
    return statistics.routes


def experts_only(criterion: str, site: Site, argument: str = "criterion") -> InputError:
    """Return the error of a criterion of experts that is to rank other units; `argument` named it."""
    return InputError(
        f"criterion {criterion!r} scores experts, but {site.name} has {site.structure}; pass `structures=experts` with "
        f"a model of experts, or `{argument}=information`"
    )
