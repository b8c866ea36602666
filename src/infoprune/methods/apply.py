"""Apply: prune a model by a published method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel

from infoprune.budgets.allocate import allocate, even_counts, least_counts, threshold_counts
from infoprune.budgets.budget import Budget, Counts, Keep
from infoprune.budgets.costs import Costs
from infoprune.budgets.measured import measured
from infoprune.errors import InputError
from infoprune.methods.finish import finished
from infoprune.methods.kprune import prune_knowing
from infoprune.methods.search import search_counts
from infoprune.methods.slicegpt import prune_rotated
from infoprune.methods.table import Finish, Method
from infoprune.plan import Plan
from infoprune.ranking.criteria import Criterion, PairedCriterion, criterion_named, extras_of
from infoprune.ranking.rank import Rankings, rank
from infoprune.statistics.calibration import Batch, Progress
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.site import Site


@runtime_checkable
class SettlingCriterion(Criterion, Protocol):
    """Criterion that chooses the units anew once their number is known."""

    def settle(self, statistics: SiteStatistics, kept: int) -> tuple[int, ...]:
        """Return the units that a site keeps, so many as given."""


def collect_for(
    methods: Sequence[Method],
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Sequence[Site] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Statistics:
    """Collect the statistics that all of some methods need, in one pass.

    Args:
        methods: Methods from `METHODS`.
        model: The dense model.
        batches: Tokenised calibration inputs.
        sites: Sites to cut; None means all in the layers.
        seed: Seed of the sampled directions.
        progress: Called with (batches done, batches in all).
    """
    criteria = [criterion_named(method.name) for method in methods if method.ranks]
    return collect(model, batches, sites=sites, extras=extras_of(*criteria), seed=seed, progress=progress)


def rank_once(method: Method, statistics: Statistics, *, seed: int = 0) -> Rankings | None:
    """Return the rankings of a method that serve every goal; None where it ranks anew for each.

    Args:
        method: A method from `METHODS`.
        statistics: Statistics from `collect_for`.
        seed: Seed of criteria that are random.
    """
    if not method.ranks or isinstance(criterion := criterion_named(method.name), PairedCriterion):
        return None
    return rank(statistics, criterion, seed=seed)


def prune_by(
    method: Method,
    model: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    goal: Keep | Budget,
    costs: Costs | None = None,
    *,
    finish: Finish | None = None,
    rankings: Rankings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, Plan]:
    """Prune a model by a method as published, or by its choice of units with another finish.

    Args:
        method: A method from `METHODS`.
        model: The dense model; it is not changed.
        batches: Tokenised calibration inputs.
        statistics: Statistics from `collect_for`, of this model and these batches.
        goal: The same share of every site, or a budget, which the method divides among the sites.
        costs: Costs of the model, for a budget.
        finish: Finish to use instead of the method's own.
        rankings: Rankings from `rank_once`, where several goals share them; None ranks here.
        seed: Seed of criteria that are random.
        progress: Called with (steps done, steps in all) by methods that take long.

    Returns:
        The smaller model and its plan.

    Raises:
        InputError: A budget has no costs, the statistics lack what the method needs, or the method does not support the
            model.

    Examples:
        >>> statistics = collect_for([METHODS["kwon"]], model, batches)
        >>> small, plan = prune_by(METHODS["kwon"], model, batches, statistics, Keep(0.5))
    """
    finish = finish or method.finish
    if method.rotates:
        return prune_rotated(model, batches, goal, costs, finish=finish)
    if method.sequential:
        small, plan = prune_knowing(model, batches, statistics, goal, costs, progress=progress)
        if finish == method.finish:
            return small, plan
    else:
        plan = choose(method, model, batches, statistics, goal, costs, rankings=rankings, seed=seed)
    return finished(model, plan, statistics, batches, finish), plan


def choose(
    method: Method,
    model: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    goal: Keep | Budget,
    costs: Costs | None = None,
    *,
    rankings: Rankings | None = None,
    seed: int = 0,
) -> Plan:
    """Return the plan of a method that ranks the dense model once; for the arguments see `prune_by`."""
    criterion = criterion_named(method.name)
    if rankings is None:
        rankings = rank_once(method, statistics, seed=seed)
    if rankings is None:
        beforehand = goal if isinstance(goal, Keep) else _even(statistics, _needed(costs, goal), goal)
        if isinstance(criterion, PairedCriterion):
            statistics = collect_pairs(model, batches, statistics, criterion.pairing, seed=seed)
        rankings = rank(statistics, criterion, budget=beforehand, seed=seed)
    if isinstance(goal, Keep):
        plan = allocate(rankings, goal)
    else:
        if method.division == "losses" and goal.allocation != "uniform":
            rankings = measured(rankings, model, statistics, batches)
        plan = allocate(rankings, _counts(method, rankings, _needed(costs, goal), goal))
    if not isinstance(criterion, SettlingCriterion):
        return plan
    kept = {name: criterion.settle(statistics.sites[name], len(units)) for name, units in plan.kept.items()}
    return replace(plan, kept=kept)


def _needed(costs: Costs | None, goal: Budget) -> Costs:
    if costs is None:
        raise InputError(
            f"a budget of {goal.quantity} needs the costs of the model, expected `costs`; pass find_costs(…)"
        )
    return costs


def _even(statistics: Statistics, costs: Costs, goal: Budget) -> Counts:
    units = {name: each.site.units for name, each in statistics.sites.items()}
    return Counts(even_counts(units, costs, goal.limit(costs)))


def _counts(method: Method, rankings: Rankings, costs: Costs, goal: Budget) -> Counts:
    limit = goal.limit(costs)
    if goal.allocation == "uniform" or method.division == "uniform":
        units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
        return Counts(even_counts(units, costs, limit))
    return Counts(_DIVIDED[method.division](rankings, costs, limit))


_DIVIDED = {"losses": least_counts, "search": search_counts, "threshold": threshold_counts}
