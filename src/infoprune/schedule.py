"""Schedule: how many units the sites keep after each part of a cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel

from infoprune.budgets.allocate import check_nats, choose_counts, even_counts
from infoprune.budgets.budget import Budget, Counts
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.shape import Shape, share_counts
from infoprune.budgets.timed import as_timed, time_share
from infoprune.errors import InputError
from infoprune.ranking.criteria import Criterion
from infoprune.ranking.rank import Rankings
from infoprune.statistics.calibration import Batch, Progress
from infoprune.structure.sites import find_sites


@runtime_checkable
class Schedule(Protocol):
    """How many units the sites keep after each part of a cut, the first being part 0."""

    @property
    def by_losses(self) -> bool:
        """Whether the losses of the rankings decide how many."""

    def beforehand(self, part: int, units: Mapping[str, int]) -> Counts:
        """The sizes after a part, for criteria that have to know them to rank; `units` are those that are there."""

    def after(self, part: int, rankings: Rankings) -> Counts:
        """The sizes after a part, given the rankings of what is there before it."""


@dataclass(frozen=True)
class _ByShare:
    """Given sizes at the end; every part keeps the same share of what it finds."""

    units: dict[str, int]
    goal: dict[str, int]
    parts: int

    @property
    def by_losses(self) -> bool:
        return False

    def after(self, part: int, rankings: Rankings) -> Counts:
        return self.beforehand(part, {})

    def beforehand(self, part: int, units: Mapping[str, int]) -> Counts:
        done = (part + 1) / self.parts
        left = {name: units * (self.goal[name] / units) ** done for name, units in self.units.items()}
        return Counts({name: max(self.goal[name], round(number)) for name, number in left.items()})


@dataclass(frozen=True)
class _ByCost:
    """A limit to the cost at the end; every part divides what is left of it anew, by the losses as they are then."""

    costs: Costs
    limit: float
    budget: Budget
    parts: int
    shape: Shape | None
    timed: Callable[[Mapping[str, int]], float] | None
    """For a latency: what share of the dense model's a cut to these sizes takes, measured."""

    @property
    def by_losses(self) -> bool:
        return self.budget.allocation != "uniform"

    def after(self, part: int, rankings: Rankings) -> Counts:
        costs = self.costs.among(rankings.sites)

        def sizes(limit: float) -> dict[str, int]:
            return choose_counts(rankings, costs, limit, self.budget.allocation, self.shape)

        limit = self._limit(part)
        if self.timed is None or part + 1 < self.parts:
            return Counts(sizes(limit))
        return Counts(as_timed(sizes, limit, costs, self.timed))

    def beforehand(self, part: int, units: Mapping[str, int]) -> Counts:
        return Counts(even_counts(units, self.costs.among(units), self._limit(part), self.shape))

    def _limit(self, part: int) -> float:
        return float(self.costs.dense * (self.limit / self.costs.dense) ** ((part + 1) / self.parts))


def schedule(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    criterion: Criterion,
    keep: float | None,
    budget: Budget | None,
    *,
    kinds: Collection[str] | None = None,
    parts: int = 1,
    shape: Shape | None = None,
    progress: Progress | None = None,
) -> Schedule:
    """The schedule that ends at a share of all units, one half where nothing is said, or at a budget.

    The sizes are among those of the shape; by default every site has its own.

    Raises:
        InputError: both are given, or what is given cannot be met.
    """
    if budget is None:
        units = {site.name: site.units for site in find_sites(model, kinds)}
        return _ByShare(units, share_counts(model, kinds, 0.5 if keep is None else keep, shape), parts)
    if keep is not None:
        raise InputError(f"keep {keep:g} and a budget of {budget.quantity} were given, expected one; leave one out")
    check_nats(budget.allocation, criterion.name, criterion.nats)
    costs = find_costs(model, budget.quantity, batches, kinds=kinds, depth=budget.depth, progress=progress)
    timed = partial(time_share, model, costs.shape) if budget.quantity == "latency" else None
    return _ByCost(costs, budget.limit(costs), budget, parts, shape, timed)
