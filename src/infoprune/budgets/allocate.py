"""Allocate: rankings and a budget become a plan."""

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
from infoprune.plan import LAYER_WIDTH, WIDTH, Plan
from infoprune.ranking.rank import Rankings

UNREPAIRED = 2 / 3
"""Of what a cut of the width loses by itself, the share that is left after the repair, set against the same of neurons
and heads. The repair re-fits every reader of the width, and those of neurons at one place. Measured on validation texts
of movie reviews (docs/width.md): with a factor of 0.4 to 0.75 the shape that loses least after the repair is chosen at
a half and at a quarter of the FLOPs, with 1 the next one."""


def allocate(
    rankings: Rankings, budget: Keep | Counts | Budget, costs: Costs | None = None, shape: Shape | None = None
) -> Plan:
    """The plan that keeps the last units of every ranking.

    For a `Budget` the sizes are those that lose the least nats in sum: minimise sum_s loss_s(k_s) subject to
    sum_s cost_s(k_s) <= budget, by one Lagrange multiplier over the convex envelopes (docs/method.md, section 7).

    Args:
        rankings: from `rank`.
        budget: how much to keep.
        costs: from `find_costs`, of the budget's quantity; for a `Budget` only.
        shape: for a `Budget`, which sizes go together (`uniform_shape`); by default every site has its own.

    Raises:
        InputError: the budget leaves nothing of a site, or less than the least possible; or costs are missing.

    Example:
        >>> allocate(rankings, Keep(0.25)).counts["layers.0.ffn"]
        (384, 1536)
        >>> allocate(rankings, Budget("flops", 0.25), find_costs(model, "flops", batches)).counts["layers.0.ffn"]
        (464, 1536)
    """
    if isinstance(budget, Budget):
        if costs is None:
            raise InputError(
                f"a budget of {budget.quantity} needs to know what the model costs; "
                f"pass find_costs(model, {budget.quantity!r}, batches)"
            )
        budget = Counts(choose_counts(rankings, costs, budget.limit(costs), budget.allocation, shape))
    kept, lost = {}, 0.0
    below: set[int] | None = None  # coordinates that the layer below keeps
    for name, ranking in rankings.sites.items():
        removed = ranking.site.units - budget.count(ranking.site)
        order = ranking.order.tolist()
        if ranking.site.kind == LAYER_WIDTH:
            order = order if below is None else [unit for unit in order if unit in below]
            removed = max(0, len(order) - budget.count(ranking.site))
            below = set(order[removed:])
        kept[name] = tuple(sorted(order[removed:]))
        lost += float(ranking.losses[: ranking.site.units - len(kept[name])].sum())
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    nats = lost if rankings.nats else None
    return Plan(rankings.model_type, units, kept, rankings.criterion, rankings.seed, nats)


def choose_counts(
    rankings: Rankings, costs: Costs, limit: float, allocation: str | None = None, shape: Shape | None = None
) -> dict[str, int]:
    """How many units of every site stay, so that the cost is at most the limit and the loss is least.

    Args:
        rankings: of the sites, which may have lost units since the costs were found.
        costs: of the same sites.
        limit: in the unit of the costs.
        allocation: "nats", "uniform", or None for nats where the criterion's losses are nats.
        shape: which sizes go together; by default every site has its own.

    Raises:
        InputError: the costs are of other sites, no shape is small enough, or the criterion's losses are not nats
            although they are asked for.
    """
    check_nats(allocation, rankings.criterion, rankings.nats)
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    if allocation == "uniform" or not rankings.nats:
        return even_counts(units, costs, limit, shape)
    return least_counts(rankings, costs, limit, shape)


def least_counts(rankings: Rankings, costs: Costs, limit: float, shape: Shape | None = None) -> dict[str, int]:
    """How many units of every site stay, so that the cost is at most the limit and the sum of the losses is least.

    Args:
        rankings: whose losses are of one kind at all sites, nats or not.
        costs: of the same sites.
        limit: in the unit of the costs.
        shape: which sizes go together; by default every site has its own. With one the width's losses count by
            what of them is left after a repair.

    Raises:
        InputError: the costs are of other sites, or no shape is small enough.
    """
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    losses = {name: ranking.lost for name, ranking in rankings.sites.items()}
    if shape is not None and WIDTH in losses:
        losses[WIDTH] = UNREPAIRED * losses[WIDTH]
    return divide(units, costs, limit, losses, shape)


def threshold_counts(rankings: Rankings, costs: Costs, limit: float) -> dict[str, int]:
    """How many units of every site stay, if those go whose loss is below one threshold, the same at all sites.

    What a unit costs plays no part. The threshold is the lowest that meets the limit; a site keeps at least the fewest
    units that it may.

    Args:
        rankings: whose losses are comparable between sites.
        costs: of the same sites.
        limit: in the unit of the costs.

    Raises:
        InputError: the costs are of other sites.
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
    """How many units of every site stay, so that the cost is at most the limit and the shares are as equal as can be.

    Args:
        units: by site name, how many are there now.
        costs: of the same sites.
        limit: in the unit of the costs.
        shape: which sizes go together; by default every site has its own.

    Raises:
        InputError: the costs are of other sites, or no shape is small enough.
    """
    losses = {name: _even_losses(cost) for name, cost in costs.sites.items()}
    losses |= {name: _even_losses(costs.width_curve(name)) for name in costs.streams}
    return divide(units, costs, limit, losses, shape)


def check_nats(allocation: str | None, criterion: str, nats: bool) -> None:
    """Raises InputError where nats are to be divided, and the criterion of that name gives none."""
    if allocation == "nats" and not nats:
        raise InputError(
            f"allocation 'nats' needs losses in nats, which criterion {criterion!r} does not give; "
            "use allocation 'uniform' or criterion 'information'"
        )


def _even_losses(cost: Float[Tensor, " _"]) -> Float[Tensor, " _"]:
    """(units + 1,): losses under which the best plan keeps the same share of every site.

    To save a cost where a share s is left is as bad as 1 - s: so all sites meet one multiplier at one share.
    """
    share = (torch.arange(len(cost) - 1, dtype=torch.float64) + 0.5) / (len(cost) - 1)
    steps = cost.diff() * (1 - share)
    return torch.cat([steps, steps.new_zeros(1)]).flip(0).cumsum(0).flip(0)
