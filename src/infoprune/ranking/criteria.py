"""Criteria: how the units of a site are ordered. Each is a frozen set of options with one method, `rank_site`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.errors import InputError
from infoprune.ranking.brain_surgeon import BrainSurgeon
from infoprune.ranking.eliminate import Elimination, eliminate
from infoprune.ranking.eliminate_experts import eliminate_experts
from infoprune.ranking.eliminate_jointly import eliminate_jointly
from infoprune.ranking.experts import Frequency, Reap, routes_of
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.kwon import Kwon
from infoprune.ranking.scores import Activation, Flap, Leverage, Magnitude, MagnitudeSum, Taylor, Wanda
from infoprune.statistics.extras import Extra
from infoprune.statistics.metric import fisher_metric
from infoprune.statistics.pairs import Pairing
from infoprune.statistics.statistics import SiteStatistics


@runtime_checkable
class Criterion(Protocol):
    """What `rank` needs of a criterion."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def nats(self) -> bool:
        """Whether the losses are nats at the softmax, so that they can be added up over sites."""

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Return all units of one site in the order of removal, with the loss of each."""


@runtime_checkable
class JointCriterion(Criterion, Protocol):
    """A criterion that counts losses at every point where the residual stream is read; others take the first one."""

    def rank_points(
        self, points: Sequence[SiteStatistics], generator: torch.Generator, counted: int | None = None
    ) -> Elimination:
        """Return all coordinates of the residual stream in the order of removal, with the loss of each.

        The loss is that at all read points, or, where `counted` is given, that at so many of the first ones.
        """


@runtime_checkable
class ExpertCriterion(Criterion, Protocol):
    """A criterion that ranks the experts of a layer."""

    def rank_experts(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Return all experts of one site in the order of removal, with the loss of each."""


@runtime_checkable
class PairedCriterion(Criterion, Protocol):
    """A criterion that compares the units of a site with those preserved above it, from the top down."""

    @property
    def pairing(self) -> Pairing:
        """What `collect_pairs` has to collect for it."""


@runtime_checkable
class CriterionWithExtras(Criterion, Protocol):
    """A criterion that needs `collect` to accumulate more than moments and Fisher information."""

    @property
    def extras(self) -> frozenset[Extra]:
        """Extras that it needs."""


def extras_of(*criteria: Criterion) -> frozenset[Extra]:
    """Return what `collect` has to accumulate for some criteria beside moments and Fisher information.

    Examples:
        >>> collect(model, batches, extras=extras_of(Taylor(), Activation()))
    """
    wanted = [each.extras for each in criteria if isinstance(each, CriterionWithExtras)]
    return frozenset().union(*wanted)


@dataclass(frozen=True)
class ChannelInformation:
    """Loss of the information that the preserved readers still receive (docs/concepts/method.md, section 5).

    It is the default criterion.

    Args:
        sigma: Tolerated noise: its variance is sigma^2 times the mean output variance. inf is the trace limit, whose
            losses are the expected KL divergence at the softmax in nats per input.
        tau: Ridge of the metric, as a fraction of its mean diagonal; inf ignores the task and gives optimal brain
            surgeon.
        name: Name on the command line.

    Raises:
        InputError: `sigma` or `tau` is not positive.

    Examples:
        >>> rankings = infoprune.rank(infoprune.collect(model, batches), ChannelInformation())
        >>> rankings.nats
        True
    """

    sigma: float = math.inf
    tau: float = 0.1
    name: str = "information"

    def __post_init__(self) -> None:
        """Raise InputError where sigma or tau is not positive."""
        for option, value in (("sigma", self.sigma), ("tau", self.tau)):
            if not value > 0:
                raise InputError(f"`{option}` is {value}, expected a number above 0; infinity is allowed")

    @property
    def nats(self) -> bool:
        """Whether the losses are nats: in the trace limit, with a finite tau."""
        return math.isinf(self.sigma) and math.isfinite(self.tau)

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Eliminate units greedily under the Fisher metric of the reader's output."""
        covariance = statistics.covariance
        gram, log = self._gram(statistics, covariance), math.isfinite(self.sigma)
        return eliminate(covariance, gram, size=statistics.site.size, log=log)

    def rank_points(
        self, points: Sequence[SiteStatistics], generator: torch.Generator, counted: int | None = None
    ) -> Elimination:
        """Eliminate coordinates of the residual stream greedily, by the sum of their losses at all read points."""
        covariances = torch.stack([point.covariance for point in points])
        grams = torch.stack([self._gram(*each) for each in zip(points, covariances, strict=True)])
        return eliminate_jointly(covariances, grams, log=math.isfinite(self.sigma), counted=counted)

    def rank_experts(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Eliminate experts greedily, by the loss of the whole set that is gone (method.md, section 5).

        `sigma` and `tau` play no part.
        """
        routing = statistics.site.routing
        if routing is None:
            raise ValueError(f"{statistics.site.name} has no router, expected experts")
        return eliminate_experts(routes_of(statistics), routing)

    def _gram(self, statistics: SiteStatistics, covariance: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
        """Return W^T Q W."""
        metric = fisher_metric(statistics.fisher, self.tau)
        reader = statistics.reader
        if math.isfinite(self.sigma):
            # noise of variance sigma^2 x mean output variance, in the metric scaled to a mean diagonal of one
            output = (reader @ covariance * reader).sum() / len(reader)
            output = torch.where(output > 0, output, 1.0)  # no output varies: any scale will do
            metric = metric / (metric.diagonal().mean() * self.sigma**2 * output)
        return reader.T @ metric @ reader


@dataclass(frozen=True)
class Random:
    """A seeded shuffle: the baseline that any criterion has to beat."""

    name: str = "random"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Return a uniformly random order; the losses are all one."""
        order = torch.randperm(statistics.site.units, generator=generator)
        return Elimination(order, torch.ones(len(order), dtype=torch.float64))

    def rank_experts(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Return a uniformly random order of the experts."""
        return self.rank_site(statistics, generator)


CRITERIA: dict[str, Callable[[], Criterion]] = {
    "information": ChannelInformation,
    "fan2021": Fan2021,
    "magnitude": Magnitude,
    "magnitude-l1": MagnitudeSum,
    "activation": Activation,
    "wanda": Wanda,
    "flap": Flap,
    "taylor": Taylor,
    "kwon": Kwon,
    "leverage": Leverage,
    "brain-surgeon": BrainSurgeon,
    "reap": Reap,
    "frequency": Frequency,
    "random": Random,
}


def criterion_named(name: str) -> Criterion:
    """Return the criterion of that name with its defaults.

    Raises:
        InputError: There is no such criterion; the message lists those there are.
    """
    if name not in CRITERIA:
        raise InputError(
            f"criterion {name!r} is not known; expected one of: {', '.join(CRITERIA)}; pass e.g. information"
        )
    return CRITERIA[name]()
