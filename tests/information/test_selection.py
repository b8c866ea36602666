"""Greedy selections against plain versions that judge every candidate from the start."""

import math

import pytest
import torch
from tiny import normal, spread
from torch.testing import assert_close

from infoprune.information import (
    block_information,
    conditional_covariance,
    gaussian_information,
    mrmr,
    select_jointly,
)

N, M = 12, 5
JOINT = spread(N + M)
XX, XY, YY = JOINT[:N, :N], JOINT[:N, N:], JOINT[N:, N:]


def coordinates(units, size):
    return [unit * size + i for unit in units for i in range(size)]


def plain_joint(size, count):
    """Takes the unit with the largest I(X_S; Y), computed anew for every candidate."""
    taken, gains, before = [], [], 0.0
    for _ in range(count):
        rest = [unit for unit in range(N // size) if unit not in taken]
        after = [gaussian_information(JOINT, coordinates([*taken, j], size), range(N, N + M)) for j in rest]
        best = max(range(len(rest)), key=after.__getitem__)
        taken.append(rest[best])
        gains.append(after[best] - before)
        before = after[best]
    return taken, gains


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_as_the_plain_version(size):
    order, gains = plain_joint(size, N // size)
    fast = select_jointly(XX, conditional_covariance(XX, XY, YY), size)
    assert fast.order.tolist() == order
    assert_close(fast.gains, torch.tensor(gains, dtype=torch.float64), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("size", [1, 3])
def test_gains_add_up_to_what_the_selection_says(size):
    some = select_jointly(XX, conditional_covariance(XX, XY, YY), size, count=3)
    expected = gaussian_information(JOINT, coordinates(some.order.tolist(), size), range(N, N + M))
    assert float(some.gains.sum()) == pytest.approx(expected, rel=1e-10)
    whole = select_jointly(XX, conditional_covariance(XX, XY, YY), size)
    assert some.order.tolist() == whole.order[:3].tolist()
    assert float(whole.gains.sum()) == pytest.approx(gaussian_information(JOINT, range(N), range(N, N + M)), rel=1e-10)


def test_the_first_is_the_one_that_alone_says_most():
    alone = block_information(XX, XY, YY)[:, 0]
    fast = select_jointly(XX, conditional_covariance(XX, XY, YY), count=1)
    assert int(fast.order[0]) == int(alone.argmax())
    assert float(fast.gains[0]) == pytest.approx(float(alone.max()))


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("size", [1, 3])
def test_units_of_measure_do_not_matter(size, unit):
    conditional = conditional_covariance(XX, XY, YY)
    expected = select_jointly(XX, conditional, size)
    found = select_jointly(unit**2 * XX, unit**2 * conditional, size)
    assert found.order.tolist() == expected.order.tolist()
    assert_close(found.gains, expected.gains)


@pytest.mark.parametrize("ridge", [0.0, 1e-9])
def test_of_two_copies_the_second_adds_nothing(ridge):
    index = [*range(N), 3]
    xx, xy = XX[index][:, index] + ridge * torch.eye(N + 1), XY[index]
    fast = select_jointly(xx, conditional_covariance(xx, xy, YY))
    assert sorted(fast.order.tolist()) == list(range(N + 1))
    second = max(fast.order.tolist().index(3), fast.order.tolist().index(N))
    assert float(fast.gains[second]) < 1e-5
    assert (fast.gains >= 0).all()


def plain_mrmr(relevance, redundancy):
    taken, gains = [], []
    while len(taken) < len(relevance):
        best, most = None, -math.inf
        for j in range(len(relevance)):
            if j in taken:
                continue
            shared = sum(float(redundancy[j, s]) for s in taken) / max(len(taken), 1)
            if float(relevance[j]) - shared > most:
                best, most = j, float(relevance[j]) - shared
        taken.append(best)
        gains.append(most)
    return taken, gains


def test_mrmr_as_the_plain_version():
    relevance, redundancy = normal(9).abs(), normal(9, 9, seed=1).abs()
    redundancy = redundancy + redundancy.T
    found = mrmr(relevance, redundancy)
    order, gains = plain_mrmr(relevance, redundancy)
    assert found.order.tolist() == order
    assert_close(found.gains, torch.tensor(gains, dtype=torch.float64))
    assert mrmr(relevance, redundancy, count=4).order.tolist() == found.order[:4].tolist()


def test_mrmr_without_redundancy_is_relevance():
    relevance = normal(9)
    assert mrmr(relevance, torch.zeros(9, 9)).order.tolist() == relevance.argsort(descending=True).tolist()


def test_mrmr_takes_copies_last_and_every_unit_once():
    relevance = torch.tensor([1.0, 0.9, 0.1, 0.9])
    redundancy = torch.zeros(4, 4)
    redundancy.fill_diagonal_(math.inf)
    redundancy[1, 3] = redundancy[3, 1] = math.inf
    assert mrmr(relevance, redundancy).order.tolist() == [0, 1, 2, 3]
