"""Search: the masks of most importance within a cost, over units of two prices; Kwon et al. 2022."""

from __future__ import annotations

from collections import Counter

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.budgets.allocate import least_counts
from infoprune.budgets.costs import Costs
from infoprune.ranking.rank import Rankings


def search_counts(rankings: Rankings, costs: Costs, limit: float) -> dict[str, int]:
    """How many units of every site stay, so that the cost is at most the limit and the sum of the losses is least.

    For every number of dear units (heads) the most important ones, and as many of the cheap ones (neurons) as the rest
    of the limit pays for; the best of these. Exact where a unit's loss does not depend on others and there are two
    prices. Otherwise, as for latencies, the sizes come from the common division by the least loss.

    Args:
        rankings: whose losses are comparable between sites.
        costs: of the same sites.
        limit: in the unit of the costs.

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
        worth = float(dear_sums[heads] + cheap_sums[neurons])
        if worth > best:
            best, chosen = worth, (heads, neurons)
    kept = Counter(dict.fromkeys(rankings.sites, 1))
    kept.update(name for _, name in dear[: chosen[0]] + cheap[: chosen[1]])
    return dict(kept)


def _price(curve: Float[Tensor, " _"]) -> float | None:
    """What a unit costs, where all cost the same."""
    steps = curve.diff()
    return float(steps[0]) if bool(((steps - steps[0]).abs() <= 1e-9 * steps[0].abs()).all()) else None


def _pooled(rankings: Rankings, prices: dict[str, float | None], level: float) -> list[tuple[float, str]]:
    """(loss, site) of the units of one price, the most important first, but for the last of each site, which stays."""
    units = [
        (float(loss), name)
        for name, ranking in rankings.sites.items()
        if prices[name] == level
        for loss in ranking.losses[:-1]
    ]
    return sorted(units, key=lambda unit: -unit[0])


def _sums(units: list[tuple[float, str]]) -> Float[Tensor, " _"]:
    return torch.tensor([0.0, *(loss for loss, _ in units)], dtype=torch.float64).cumsum(0)
