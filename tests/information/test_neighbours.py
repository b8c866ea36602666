"""Nearest-neighbour estimates against scikit-learn, loops over samples, and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.preprocessing import scale
from tiny import normal

from infoprune.errors import InputError
from infoprune.information import (
    ksg_information,
    ksg_of_distances,
    max_distances,
    ross_information,
    ross_of_distances,
)

COUNT = 300


def pairs(count=COUNT, seed=0):
    x = normal(count, 3, seed=seed)
    return x, x[:, :1] + 0.3 * x[:, 1:2].square() + 0.5 * normal(count, 1, seed=seed + 1)


def scaled(x):
    """What scikit-learn does before it estimates; the noise that it adds, of 1e-10, moves no sample past another."""
    return torch.from_numpy(scale(x.numpy(), with_mean=False))


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_ksg_is_scikit_learn_s(neighbours):
    x, y = pairs()
    theirs = mutual_info_regression(x.numpy(), y[:, 0].numpy(), n_neighbors=neighbours, random_state=0)
    for column, expected in zip(scaled(x).T, theirs, strict=True):
        ours = ksg_information(column[:, None], scaled(y), neighbours=neighbours)
        assert max(ours, 0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_ross_is_scikit_learn_s(neighbours):
    x, y = pairs()
    labels = (y[:, 0] * 1.5).round().clamp(-2, 3).long()
    labels[0] = 9  # a label that stands alone
    theirs = mutual_info_classif(x.numpy(), labels.numpy(), n_neighbors=neighbours, random_state=0)
    for column, expected in zip(scaled(x).T, theirs, strict=True):
        ours = ross_information(column[:, None], labels, neighbours=neighbours)
        assert max(ours, 0) == pytest.approx(expected, abs=1e-12)


def by_loops(x, y, k, variant):
    """Kraskov et al. 2004, equations (8) and (9), sample by sample."""
    x, y, t = x.numpy(), y.numpy(), len(x)
    total = 0.0
    for i in range(t):
        others = [j for j in range(t) if j != i]
        dx = {j: np.abs(x[i] - x[j]).max() for j in others}
        dy = {j: np.abs(y[i] - y[j]).max() for j in others}
        near = sorted(others, key=lambda j: max(dx[j], dy[j]))[:k]
        if variant == 1:
            radius = max(dx[near[-1]], dy[near[-1]])
            total += digamma(1 + sum(d < radius for d in dx.values())) + digamma(
                1 + sum(d < radius for d in dy.values())
            )
        else:
            edges = max(dx[j] for j in near), max(dy[j] for j in near)
            total += digamma(sum(d <= edges[0] for d in dx.values())) + digamma(sum(d <= edges[1] for d in dy.values()))
    return digamma(k) - (1 / k if variant == 2 else 0) - total / t + digamma(t)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("neighbours", [1, 4])
@pytest.mark.parametrize("n", [1, 3])
def test_as_by_loops(variant, neighbours, n):
    x, y = pairs(40)
    expected = by_loops(x[:, :n], y, neighbours, variant)
    found = ksg_information(x[:, :n], y, neighbours=neighbours, variant=variant)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("neighbours", [1, 3, 10])
@pytest.mark.parametrize("n", [1, 3])
def test_ross_as_by_loops(neighbours, n):
    """Also where a label has fewer samples than neighbours are asked for."""
    x, y = pairs(60)
    x, labels = x[:, :n], y[:, 0].round().long()
    labels[0], labels[1:6] = 9, 8
    counted = [i for i in range(60) if int((labels == labels[i]).sum()) > 1]
    assert 0 not in counted
    total = 0.0
    for i in counted:
        distance = {j: float((x[i] - x[j]).abs().max()) for j in counted if j != i}
        same = sorted(distance[j] for j in distance if labels[j] == labels[i])
        k = min(neighbours, len(same))
        m = 1 + sum(d < same[k - 1] for d in distance.values())
        total += digamma(k) - digamma(len(same) + 1) - digamma(m)
    expected = digamma(len(counted)) + total / len(counted)
    assert ross_information(x, labels, neighbours=neighbours) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_gaussian_closed_form(variant, correlation):
    estimates = []
    for seed in range(8):
        a, b = normal(500, 1, seed=seed), normal(500, 1, seed=100 + seed)
        b = correlation * a + (1 - correlation**2) ** 0.5 * b
        estimates.append(ksg_information(a, b, variant=variant))
    assert np.mean(estimates) == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.03)


@pytest.mark.parametrize("variant", [1, 2])
def test_uniform_closed_form(variant):
    """y = x + noise, both uniform on [0, 1]: the sum is triangular, I = h(y) - h(noise) = 1/2 nat."""
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.rand(1500, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    assert ksg_information(x, x + noise, variant=variant) == pytest.approx(0.5, abs=0.05)


def test_ross_closed_form():
    """Two labels, x uniform on [0, 1] or on [1/2, 3/2]: half of x gives the label away, I = 1/2 log 2."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2000) % 2
    x = torch.rand(2000, 1, generator=generator, dtype=torch.float64) + labels[:, None] / 2
    assert ross_information(x, labels) == pytest.approx(0.5 * math.log(2), abs=0.03)


def test_labels_far_apart_are_known_entirely():
    """Every margin count equals k: I = psi(t) - psi(t / 3), nearly the labels' entropy log 3."""
    labels = torch.arange(90) % 3
    x = normal(90, 2) + 1000 * labels[:, None]
    expected = float(digamma(90) - digamma(30))
    assert ross_information(x, labels) == pytest.approx(expected, abs=1e-12)
    assert ross_information(x, labels) == pytest.approx(math.log(3), abs=0.02)


@pytest.mark.parametrize("variant", [1, 2])
def test_laws(variant):
    x, y = pairs(120)
    information = ksg_information(x, y, variant=variant)
    assert information == pytest.approx(ksg_information(y, x, variant=variant), abs=1e-12)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    assert information == pytest.approx(ksg_information(x[order] + 5, y[order] - 2, variant=variant), abs=1e-12)
    assert ksg_information(x, x, variant=variant) > 2 * information  # a copy says most


def test_copies_by_closed_form():
    """Of a copy every margin count is known: n_x = n_y = k - 1 (variant 1) and k (variant 2)."""
    x, k = normal(100, 1), 3
    assert ksg_information(x, x, neighbours=k) == pytest.approx(digamma(100) - digamma(k), abs=1e-12)
    expected = digamma(100) - digamma(k) - 1 / k
    assert ksg_information(x, x, neighbours=k, variant=2) == pytest.approx(expected, abs=1e-12)


def test_repeated_values_stay_finite():
    x, y = (normal(200, 1, seed=s).round() for s in (0, 1))
    assert math.isfinite(ksg_information(x, y))
    assert math.isfinite(ksg_information(x, y, variant=2))
    assert math.isfinite(ross_information(x, y[:, 0].long()))


def test_equal_samples_are_as_near_as_can_be():
    """Every radius is zero, and every sample within it."""
    same, labels = torch.zeros(10, 1), torch.arange(10) % 2
    assert ksg_information(same, same) == pytest.approx(digamma(3) - digamma(10), abs=1e-12)
    assert ross_information(same, labels) == pytest.approx(digamma(3) - digamma(5), abs=1e-12)


def test_three_neighbours_and_the_first_variant_are_usual():
    x, y = pairs(50)
    labels = (y[:, 0] > 0).long()
    expected = ksg_information(x, y, neighbours=3, variant=1)
    assert ksg_information(x, y) == expected
    assert ksg_of_distances(max_distances(x), max_distances(y)) == expected
    expected = ross_information(x, labels, neighbours=3)
    assert ross_information(x, labels) == ross_of_distances(max_distances(x), labels) == expected


def test_refusals():
    x = normal(5, 1)
    with pytest.raises(InputError, match="x has 5 samples and y 4"):
        ksg_information(x, x[:4])
    with pytest.raises(InputError, match="`neighbours` is 5 among 5 samples"):
        ksg_information(x, x, neighbours=5)
    with pytest.raises(InputError, match="`neighbours` is 0"):
        ross_information(x, torch.zeros(5, dtype=torch.long), neighbours=0)
    with pytest.raises(InputError, match="5 samples and there are 4 labels"):
        ross_information(x, torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="no label occurs twice"):
        ross_information(x, torch.arange(5))
