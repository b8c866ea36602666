"""Size schedule: how many units the sites keep after each round."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel

from infoprune.budgets.allocate import check_nats, choose_counts, even_counts
from infoprune.budgets.budget import Budget, Counts, Keep
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.rounding import FINEST
from infoprune.budgets.shape import Shape, share_counts
from infoprune.budgets.timed import as_timed, time_share
from infoprune.errors import InputError
from infoprune.pipeline.size import is_default
from infoprune.ranking.criteria import Criterion
from infoprune.ranking.rank import Rankings
from infoprune.statistics.calibration import Batch, Progress
from infoprune.structure.sites import find_sites


@runtime_checkable
class SizeSchedule(Protocol):
    """Number of units that the sites keep after each part; the first one is part 0."""

    @property
    def by_losses(self) -> bool:
        """Whether the losses of the rankings decide the numbers."""

    def beforehand(self, part: int, units: Mapping[str, int]) -> Counts:
        """Return the sizes after a part, for criteria that need them to rank.

        Args:
            part: Number of the part.
            units: Present number of units by site name.
        """

    def after(self, part: int, rankings: Rankings) -> Counts:
        """Return the sizes after a part, by the rankings of the model before it."""


@dataclass(frozen=True)
class _ByShare:
    """Schedule to given sizes; every part keeps the same share of the units that are left."""

    units: dict[str, int]
    goal: dict[str, int]
    parts: int
    steps: dict[str, int]
    """Number by name of a site of which the numbers of its units have to be multiples, unless they are all."""

    @property
    def by_losses(self) -> bool:
        return False

    def after(self, part: int, rankings: Rankings) -> Counts:
        return self.beforehand(part, {})

    def beforehand(self, part: int, units: Mapping[str, int]) -> Counts:
        done = (part + 1) / self.parts
        left = {name: units * (self.goal[name] / units) ** done for name, units in self.units.items()}
        steps = self.steps
        sizes = {name: math.ceil(round(number) / steps[name]) * steps[name] for name, number in left.items()}
        return Counts({name: max(self.goal[name], min(size, self.units[name])) for name, size in sizes.items()})


@dataclass(frozen=True)
class _ByCost:
    """Schedule to a largest cost; every part chooses the sizes anew, by the present losses."""

    costs: Costs
    limit: float
    budget: Budget
    parts: int
    shape: Shape | None
    timed: Callable[[Mapping[str, int]], float] | None
    """For a budget of latency: measures the time of a model cut to these sizes, as a share of the dense model's."""

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


def size_schedule(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    criterion: Criterion,
    size: Keep | Budget,
    *,
    structures: Collection[str] | None = None,
    parts: int = 1,
    shape: Shape | None = None,
    progress: Progress | None = None,
) -> SizeSchedule:
    """Return the schedule that ends at a share of all units, or at a budget.

    Args:
        model: The model to cut.
        batches: Calibration inputs, for their typical shape.
        criterion: Criterion that ranks the units.
        size: The size at the end.
        structures: Types of structure to cut; None means every type in the layers.
        parts: Number of parts.
        shape: Which sizes go together; by default every site has its own size.
        progress: Called with (timings done, timings in all).

    Raises:
        InputError: The size cannot be met.
    """
    if isinstance(size, Keep):
        sites = find_sites(model, structures)
        units = {site.name: site.units for site in sites}
        steps = {site.name: FINEST if site.neurons is not None else 1 for site in sites}
        return _ByShare(units, share_counts(model, structures, size.share, shape), parts, steps)
    check_nats(size.allocation, criterion.name, criterion.nats)
    costs = find_costs(model, size.quantity, batches, structures=structures, depth=size.depth, progress=progress)
    timed = partial(time_share, model, costs.shape) if size.quantity == "latency" else None
    try:
        limit = size.limit(costs)
    except InputError as error:
        if not is_default(size):
            raise
        raise InputError(f"no size was given, so the default holds, but {error}") from None
    return _ByCost(costs, limit, size, parts, shape, timed)
