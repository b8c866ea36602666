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
from infoprune.ranking.eliminate_jointly import eliminate_jointly
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.kwon import Kwon
from infoprune.ranking.scores import Activation, Flap, Leverage, Magnitude, MagnitudeSum, Taylor, Wanda
from infoprune.statistics.masks import Extra
from infoprune.statistics.pairs import Pairing
from infoprune.statistics.statistics import SiteStatistics


@runtime_checkable
class Criterion(Protocol):
    """What `rank` needs of a criterion."""

    @property
    def name(self) -> str:
        """As the command line says it."""

    @property
    def nats(self) -> bool:
        """Whether the losses are nats at the softmax, so that they may be added up over sites."""

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """All units of one site in the order of removal, with the loss of each."""


@runtime_checkable
class JointCriterion(Criterion, Protocol):
    """A criterion for which it matters where units are read that several places read; others take the first place."""

    def rank_places(
        self, places: Sequence[SiteStatistics], generator: torch.Generator, counted: int | None = None
    ) -> Elimination:
        """All coordinates of the residual stream in the order of removal, with the loss of each at all places.

        Or, where a number is given, with the loss at so many of the first places.
        """


@runtime_checkable
class PairedCriterion(Criterion, Protocol):
    """A criterion that has to see the units of a site beside those preserved above it, from the top down."""

    @property
    def pairing(self) -> Pairing:
        """What `collect_pairs` is to collect for it."""


@runtime_checkable
class CuriousCriterion(Criterion, Protocol):
    """A criterion that wants `collect` to note more than moments and demand."""

    @property
    def extras(self) -> frozenset[Extra]:
        """What it wants."""


def extras_of(*criteria: Criterion) -> frozenset[Extra]:
    """What `collect` has to note for some criteria beside moments and demand.

    Example:
        >>> collect(model, batches, extras=extras_of(Taylor(), Activation()))
    """
    wanted = [each.extras for each in criteria if isinstance(each, CuriousCriterion)]
    return frozenset().union(*wanted)


@dataclass(frozen=True)
class ChannelInformation:
    """Loss of what the preserved readers above can still receive (docs/method.md, section 5). The default.

    Args:
        sigma: tolerated noise, as a fraction of the mean output variance; inf is the trace limit, whose losses are the
            expected KL divergence at the softmax in nats per input.
        tau: floor of the metric, a fraction of its mean diagonal; inf forgets the task and gives optimal brain surgeon.
    """

    sigma: float = math.inf
    tau: float = 0.1
    name: str = "information"

    def __post_init__(self) -> None:
        """Raises InputError where sigma or tau is not positive."""
        for option, value in (("sigma", self.sigma), ("tau", self.tau)):
            if not value > 0:
                raise InputError(f"{option} is {value}, expected a number above 0; infinity is allowed")

    @property
    def nats(self) -> bool:
        """In the trace limit of the demand's own metric they are."""
        return math.isinf(self.sigma) and math.isfinite(self.tau)

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Greedy elimination under the Fisher metric of the reader's output."""
        covariance = statistics.covariance
        gram, log = self._gram(statistics, covariance), math.isfinite(self.sigma)
        return eliminate(covariance, gram, size=statistics.site.size, log=log)

    def rank_places(
        self, places: Sequence[SiteStatistics], generator: torch.Generator, counted: int | None = None
    ) -> Elimination:
        """Greedy elimination of the coordinates of the residual stream, by the sum of the losses at all places."""
        covariances = torch.stack([place.covariance for place in places])
        grams = torch.stack([self._gram(*each) for each in zip(places, covariances, strict=True)])
        return eliminate_jointly(covariances, grams, log=math.isfinite(self.sigma), counted=counted)

    def _gram(self, statistics: SiteStatistics, covariance: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
        """W^T Q W."""
        metric = demand_metric(statistics.demand, self.tau)
        reader = statistics.reader
        if math.isfinite(self.sigma):
            # noise of variance sigma^2 x mean output variance, in the metric scaled to a mean diagonal of one
            output = (reader @ covariance * reader).sum() / len(reader)
            output = torch.where(output > 0, output, 1.0)  # nothing is read: any noise drowns it
            metric = metric / (metric.diagonal().mean() * self.sigma**2 * output)
        return reader.T @ metric @ reader


@dataclass(frozen=True)
class Random:
    """A seeded shuffle: what any criterion has to beat."""

    name: str = "random"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Uniformly random order; the losses are all one."""
        order = torch.randperm(statistics.site.units, generator=generator)
        return Elimination(order, torch.ones(len(order), dtype=torch.float64))


def demand_metric(demand: Float[Tensor, "o o"], tau: float) -> Float[Tensor, "o o"]:
    """G + tau mean(diag G) 1, in nats; the identity where tau is infinite or nothing is demanded."""
    level = float(demand.diagonal().mean())
    identity = torch.eye(len(demand), dtype=demand.dtype, device=demand.device)
    if math.isinf(tau) or level <= 0:
        return identity
    return demand + tau * level * identity


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
    "random": Random,
}


def criterion_named(name: str) -> Criterion:
    """The criterion of that name with its defaults.

    Raises:
        InputError: no such criterion; the message lists those there are.
    """
    if name not in CRITERIA:
        raise InputError(f"criterion {name!r} is not known; expected one of: {', '.join(CRITERIA)}")
    return CRITERIA[name]()
