"""Sizes that fall: against all that there are."""

from itertools import pairwise, product

import pytest
import torch

from infoprune.budgets.falling import falling


@pytest.mark.parametrize("seed", range(20))
def test_nothing_that_falls_is_better(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(2, 4, 6, 8)] * 3 + [(2, 4, 6)]
    losses = [torch.rand(len(each), generator=generator).sort(descending=True).values.tolist() for each in sizes]
    weights = (torch.rand(4, generator=generator) / 4).tolist()

    def cost(chosen):
        pairs = zip(losses, sizes, chosen, weights, strict=True)
        return sum(lost[each.index(size)] + weight * size for lost, each, size, weight in pairs)

    every = [chosen for chosen in product(*sizes) if all(a >= b for a, b in pairwise(chosen))]
    found = falling(sizes, losses, weights)
    assert all(a >= b for a, b in pairwise(found))
    assert cost(found) == pytest.approx(min(map(cost, every)))


def test_what_is_free_stays():
    assert falling([(1, 2), (1, 2)], [(9, 5), (9, 5)], [0, 0]) == [2, 2]


def test_a_size_above_holds_up_those_below():
    """The first would rather be small, but the second is worth it."""
    assert falling([(1, 2), (1, 2)], [(0, 0), (9, 0)], [1, 1]) == [2, 2]
    assert falling([(1, 2), (1, 2)], [(9, 0), (0, 0)], [1, 1]) == [2, 1]
