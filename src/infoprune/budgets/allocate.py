"""Allocate: turn rankings and a budget into a plan."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.budgets.budget import Budget, Counts, Keep
from infoprune.budgets.costs import Costs
from infoprune.budgets.divide import ROUNDING, check_sites, divide
from infoprune.budgets.shape import Shape
from infoprune.errors import InputError
from infoprune.kept_neurons import experts_beside
from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER, Plan
from infoprune.ranking.rank import Rankings
from infoprune.structure.modes import in_ordinary_mode

UNREPAIRED = 2 / 3
"""Share of the loss of a cut of the hidden size that is left after the repair, relative to the same share for neurons
and heads. The repair re-fits every reader of the hidden size, but only one reader of the neurons. Measured on
validation texts of movie reviews (docs/research/hidden-size.md): factors from 0.4 to 0.75 choose the shape that loses
the least after the repair, at half and at a quarter of the FLOPs; a factor of 1 chooses the next best one."""


@in_ordinary_mode
def allocate(
    rankings: Rankings, budget: Keep | Counts | Budget, costs: Costs | None = None, shape: Shape | None = None
) -> Plan:
    """Return the plan that keeps the last units of every ranking.

    For a `Budget` the sizes are those whose losses have the least sum in nats: minimise sum_s loss_s(k_s) subject to
    sum_s cost_s(k_s) <= budget, by one Lagrange multiplier over the convex envelopes (docs/concepts/method.md,
    section 7).

    Args:
        rankings: Rankings of the sites, from `rank`.
        budget: How much to keep.
        costs: Costs in the budget's quantity, from `find_costs`; for a `Budget` only.
        shape: For a `Budget`, which sizes go together (`uniform_shape`); by default every site has its own size.

    Returns:
        The plan, with the units that every site keeps and the predicted loss in nats per input.

    Raises:
        InputError: The budget leaves nothing of a site, or is below the least possible cost; or costs are missing.

    Examples:
        >>> rankings = rank(collect(model, batches), ChannelInformation())
        >>> allocate(rankings, Keep(0.25)).counts["layers.0.ffn"]
        (16, 64)
        >>> plan = allocate(rankings, Budget("flops", 0.6), find_costs(model, "flops", batches))
        >>> plan.nats_lost > 0
        True
    """
    if isinstance(budget, Budget):
        if costs is None:
            raise InputError(
                f"a budget of {budget.quantity} needs the costs of the model, expected `costs`; "
                f"pass find_costs(model, {budget.quantity!r}, batches)"
            )
        budget = Counts(choose_counts(rankings, costs, budget.limit(costs), budget.allocation, shape))
    kept, lost = {}, 0.0
    below: set[int] | None = None  # coordinates that the layer below keeps
    for name, ranking in rankings.sites.items():
        removed = ranking.site.units - budget.count(ranking.site)
        order = ranking.order.tolist()
        if ranking.site.structure == HIDDEN_SIZE_PER_LAYER:
            order = order if below is None else [unit for unit in order if unit in below]
            removed = max(0, len(order) - budget.count(ranking.site))
            below = set(order[removed:])
        kept[name] = tuple(sorted(order[removed:]))
        lost += float(ranking.losses[: ranking.site.units - len(kept[name])].sum())
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    nats = lost if rankings.nats else None
    neurons = {
        name: ranking.neurons_left(len(kept[name]), kept.get(experts_beside(name)))
        for name, ranking in rankings.sites.items()
        if ranking.neurons is not None and len(kept[name]) < units[name]
    }
    return Plan(rankings.model_type, units, kept, rankings.criterion, rankings.seed, nats, neurons=neurons)


def choose_counts(
    rankings: Rankings, costs: Costs, limit: float, allocation: str | None = None, shape: Shape | None = None
) -> dict[str, int]:
    """Return how many units every site keeps, such that the cost is at most the limit and the loss is least.

    Args:
        rankings: Rankings of the sites, which may have lost units since the costs were found.
        costs: Costs of the same sites.
        limit: Largest cost, in the unit of the costs.
        allocation: "nats", "uniform", or None for nats where the criterion's losses are nats.
        shape: Which sizes go together; by default every site has its own size.

    Raises:
        InputError: The costs are of other sites, no shape is small enough, or the allocation is "nats" and the
            criterion's losses are not nats.
    """
    check_nats(allocation, rankings.criterion, rankings.nats)
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    if allocation == "uniform" or not rankings.nats:
        return even_counts(units, costs, limit, shape)
    return least_counts(rankings, costs, limit, shape)


def least_counts(rankings: Rankings, costs: Costs, limit: float, shape: Shape | None = None) -> dict[str, int]:
    """Return how many units every site keeps, such that the cost is at most the limit and the losses' sum is least.

    Args:
        rankings: Rankings whose losses have the same unit at all sites, nats or another.
        costs: Costs of the same sites.
        limit: Largest cost, in the unit of the costs.
        shape: Which sizes go together; by default every site has its own size. With a shape, the losses of the hidden
            size are multiplied by the share of them that is left after a repair.

    Raises:
        InputError: The costs are of other sites, or no shape is small enough.
    """
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    losses = {name: ranking.lost for name, ranking in rankings.sites.items()}
    if shape is not None and HIDDEN_SIZE in losses:
        losses[HIDDEN_SIZE] = UNREPAIRED * losses[HIDDEN_SIZE]
    return divide(units, costs, limit, losses, shape)


def threshold_counts(rankings: Rankings, costs: Costs, limit: float) -> dict[str, int]:
    """Return how many units every site keeps where all units with a loss up to one threshold are removed.

    The cost of a single unit plays no part. The threshold is the same at all sites: the lowest that meets the limit. A
    site keeps at least its fewest permitted units.

    Args:
        rankings: Rankings whose losses are comparable between sites.
        costs: Costs of the same sites.
        limit: Largest cost, in the unit of the costs.

    Raises:
        InputError: The costs are of other sites.
    """
    check_sites(rankings.sites.keys(), costs)
    pooled = torch.cat([ranking.losses for ranking in rankings.sites.values()]).sort().values

    def counts(gone: int) -> dict[str, int]:
        threshold = -math.inf if gone == 0 else float(pooled[gone - 1])
        found = {}
        for name, ranking in rankings.sites.items():
            stay = int((ranking.losses > threshold).sum())
            sizes = [size for size in costs.sizes[name] if size <= ranking.site.units]
            found[name] = max([size for size in sizes if size <= stay], default=sizes[0])
        return found

    fewest = bisect_left(range(len(pooled)), True, key=lambda gone: costs.of(counts(gone)) <= limit * (1 + ROUNDING))
    return counts(fewest)


def even_counts(units: Mapping[str, int], costs: Costs, limit: float, shape: Shape | None = None) -> dict[str, int]:
    """Return how many units every site keeps, such that the cost is at most the limit and the shares are most equal.

    Args:
        units: Present number of units by site name.
        costs: Costs of the same sites.
        limit: Largest cost, in the unit of the costs.
        shape: Which sizes go together; by default every site has its own size.

    Raises:
        InputError: The costs are of other sites, or no shape is small enough.
    """
    losses = {name: _even_losses(cost) for name, cost in costs.sites.items()}
    losses |= {name: _even_losses(costs.hidden_size_curve(name)) for name in costs.streams}
    return divide(units, costs, limit, losses, shape)


def check_nats(allocation: str | None, criterion: str, nats: bool) -> None:
    """Raise InputError where the allocation is "nats" and the criterion of that name gives no nats."""
    if allocation == "nats" and not nats:
        raise InputError(
            f"allocation 'nats' needs losses in nats, which criterion {criterion!r} does not give; "
            "pass `allocation=uniform` or `criterion=information`"
        )


def _even_losses(cost: Float[Tensor, " _"]) -> Float[Tensor, " _"]:
    """Return losses, (units + 1,), for which the best plan keeps the same share of every site.

    Saving one unit of cost where a share s is left loses 1 - s, so that all sites reach one multiplier at one share.
    """
    share = (torch.arange(len(cost) - 1, dtype=torch.float64) + 0.5) / (len(cost) - 1)
    steps = cost.diff() * (1 - share)
    return torch.cat([steps, steps.new_zeros(1)]).flip(0).cumsum(0).flip(0)
