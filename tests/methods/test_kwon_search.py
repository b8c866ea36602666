from itertools import combinations

import pytest
import torch
from tiny import make_batches

from infoprune.budgets.allocate import threshold_counts
from infoprune.budgets.costs import Costs
from infoprune.errors import InputError
from infoprune.methods.search import search_counts
from infoprune.ranking.kwon import Kwon
from infoprune.ranking.rank import rank
from infoprune.statistics.collect import collect

BATCHES = make_batches()


def priced(rankings, prices):
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    price = {name: prices["heads" in name] for name in units}
    curves = {name: price[name] * torch.arange(n + 1, dtype=torch.float64) for name, n in units.items()}
    return Costs("flops", (1, 1), 0.0, curves, {name: tuple(range(1, n + 1)) for name, n in units.items()})


@pytest.fixture(params=range(3))
def rankings(request, make_tiny_bert):
    """Of one layer with two heads and four neurons: six units."""
    model = make_tiny_bert(
        dtype=torch.float64, seed=request.param, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4
    )
    return rank(collect(model, BATCHES, extras={"masks"}), Kwon())


@pytest.mark.parametrize("prices", [(1.0, 3.0), (2.0, 3.0), (1.0, 1.0)])
def test_the_search_is_as_good_as_all_masks(rankings, prices):
    costs = priced(rankings, prices)
    units = [
        (float(loss), name, costs.sites[name][1]) for name, ranking in rankings.sites.items() for loss in ranking.losses
    ]
    masks = [
        mask
        for size in range(2, 7)
        for mask in combinations(units, size)
        if {name for _, name, _ in mask} == set(rankings.sites)
    ]
    for limit in range(sum(map(int, prices)), int(costs.dense) + 1):
        counts = search_counts(rankings, costs, limit)
        assert costs.of(counts) <= limit
        kept = sum(float(r.losses[r.site.units - counts[n] :].sum()) for n, r in rankings.sites.items())
        best = max(sum(u[0] for u in mask) for mask in masks if sum(u[2] for u in mask) <= limit)
        assert kept == pytest.approx(best, rel=1e-9)


def test_costs_that_are_no_straight_lines_are_divided_all_the_same(rankings):
    costs = priced(rankings, (1.0, 3.0))
    name = next(iter(costs.sites))
    costs.sites[name][-1] += 0.5
    assert costs.of(search_counts(rankings, costs, 6.0)) <= 6


def test_a_threshold_is_the_lowest_that_meets_the_limit(rankings):
    costs = priced(rankings, (1.0, 3.0))
    pooled = sorted(float(loss) for ranking in rankings.sites.values() for loss in ranking.losses)
    for limit in range(4, 11):
        counts = threshold_counts(rankings, costs, limit)
        assert costs.of(counts) <= limit
        for threshold in [-1.0, *pooled]:
            stay = {n: max(1, int((r.losses > threshold).sum())) for n, r in rankings.sites.items()}
            if costs.of(stay) <= limit:
                assert counts == stay
                break


def test_costs_of_other_sites(rankings):
    costs = priced(rankings, (1.0, 3.0))
    del costs.sites[next(iter(costs.sites))]
    with pytest.raises(InputError, match="the costs are of other sites"):
        threshold_counts(rankings, costs, 5.0)
