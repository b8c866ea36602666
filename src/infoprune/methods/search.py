"""Search: choose the most important units of two prices within a cost; Kwon et al. 2022."""

from __future__ import annotations

from collections import Counter

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.budgets.allocate import least_counts
from infoprune.budgets.costs import Costs
from infoprune.ranking.rank import Rankings


def search_counts(rankings: Rankings, costs: Costs, limit: float) -> dict[str, int]:
    """Return how many units every site keeps, such that the cost is at most the limit and the losses' sum is least.

    For every number of expensive units (heads), take the most important ones, and as many of the cheap units (neurons)
    as fit into the rest of the limit; keep the best combination. This is exact where a unit's loss does not depend on
    others and there are two prices. Otherwise, as for latencies, `least_counts` chooses the sizes.

    Args:
        rankings: Rankings whose losses are comparable between sites.
        costs: Costs of the same sites.
        limit: Largest cost, in the unit of the costs.

    Source:
        W. Kwon et al., *A fast post-training pruning framework for transformers*, NeurIPS 2022, algorithm 1; here every
        site keeps one unit at least.
    """
    prices = {name: _price(costs.sites[name]) for name in rankings.sites}
    levels = sorted({price for price in prices.values() if price is not None})
    if None in prices.values() or not 1 <= len(levels) <= 2:
        return least_counts(rankings, costs, limit)
    left = limit * (1 + 1e-12) - costs.of(dict.fromkeys(rankings.sites, 1))
    cheap = _pooled(rankings, prices, levels[0])
    dear = _pooled(rankings, prices, levels[1]) if len(levels) == 2 else []
    cheap_sums, dear_sums = (_sums(units) for units in (cheap, dear))
    best, chosen = -1.0, (0, 0)
    for heads in range(len(dear) + 1):
        rest = left - heads * levels[-1]
        if rest < 0:
            break
        neurons = min(len(cheap), int(rest / levels[0]))
        importance = float(dear_sums[heads] + cheap_sums[neurons])
        if importance > best:
            best, chosen = importance, (heads, neurons)
    kept = Counter(dict.fromkeys(rankings.sites, 1))
    kept.update(name for _, name in dear[: chosen[0]] + cheap[: chosen[1]])
    return dict(kept)


def _price(curve: Float[Tensor, " _"]) -> float | None:
    """Return the cost of a unit, where all units cost the same; otherwise None."""
    steps = curve.diff()
    return float(steps[0]) if bool(((steps - steps[0]).abs() <= 1e-9 * steps[0].abs()).all()) else None


def _pooled(rankings: Rankings, prices: dict[str, float | None], level: float) -> list[tuple[float, str]]:
    """Return (loss, site) of the units of one price, the most important first, without the best unit of each site."""
    units = [
        (float(loss), name)
        for name, ranking in rankings.sites.items()
        if prices[name] == level
        for loss in ranking.losses[:-1]
    ]
    return sorted(units, key=lambda unit: -unit[0])


def _sums(units: list[tuple[float, str]]) -> Float[Tensor, " _"]:
    return torch.tensor([0.0, *(loss for loss, _ in units)], dtype=torch.float64).cumsum(0)
