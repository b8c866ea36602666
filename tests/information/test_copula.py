"""The Gaussian copula against scipy's ranks, the authors' formula in numpy, and the laws."""

import numpy as np
import pytest
import torch
from scipy.special import ndtri, psi
from scipy.stats import rankdata
from tiny import normal

from infoprune.errors import InputError
from infoprune.information import copula_information, normal_scores


def samples(count=200, n=2, m=3):
    x = normal(count, n)
    return x, x @ normal(n, m, seed=1) + normal(count, m, seed=2)


def published(x, y, correct):
    """Entropies of Ince et al. 2017 in nats, each with its own correction."""
    both = np.concatenate([x, y], 1)
    count = len(both)
    scores = ndtri((both.argsort(0).argsort(0) + 1) / (count + 1))
    covariance = np.cov(scores.T)

    def entropy(block):
        d = len(block)
        value = np.log(np.diag(np.linalg.cholesky(block))).sum()
        if not correct:
            return value
        return value - d * (np.log(2) - np.log(count - 1)) / 2 - psi((count - np.arange(1, d + 1)) / 2).sum() / 2

    n = x.shape[1]
    return entropy(covariance[:n, :n]) + entropy(covariance[n:, n:]) - entropy(covariance)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("count", [7, 12, 200])
def test_as_published(count, correct):
    x, y = samples(count)
    expected = published(x.numpy(), y.numpy(), correct)
    assert copula_information(x, y, correct=correct) == pytest.approx(expected, rel=1e-9)


def test_scores_are_quantiles_of_shared_ranks():
    x = torch.randint(0, 9, (40, 3), generator=torch.Generator().manual_seed(0)).double()
    expected = ndtri(rankdata(x.numpy(), axis=0) / 41)
    np.testing.assert_allclose(normal_scores(x).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("correct", [True, False])
def test_unchanged_by_increasing_maps_and_order(correct):
    x, y = samples()
    expected = copula_information(x, y, correct=correct)
    assert copula_information(x.exp(), y**3 - 7, correct=correct) == pytest.approx(expected, rel=1e-12)
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    assert copula_information(x[shuffled], y[shuffled], correct=correct) == pytest.approx(expected, rel=1e-9)
    assert copula_information(y, x, correct=correct) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_closed_form_whatever_the_margins(correlation):
    a, b = normal(20000), normal(20000, seed=1)
    b = correlation * a + (1 - correlation**2) ** 0.5 * b
    information = copula_information(a.exp()[:, None], torch.special.ndtr(b)[:, None])
    assert information == pytest.approx(-0.5 * np.log(1 - correlation**2), abs=0.01)


def test_the_correction_takes_the_bias():
    fisher_samples = [(normal(30, 2, seed=2 * s), normal(30, 3, seed=2 * s + 1)) for s in range(200)]
    plain = np.mean([copula_information(x, y, correct=False) for x, y in fisher_samples])
    corrected = np.mean([copula_information(x, y) for x, y in fisher_samples])
    assert plain > 0.1  # n m / (2 t) = 0.1 where there is nothing
    assert abs(corrected) < 0.01


@pytest.mark.parametrize(("x", "y", "least"), [(normal(5, 2), normal(4, 2), 5), (normal(6, 2), normal(6, 3), 6)])
def test_too_few_samples(x, y, least):
    with pytest.raises(InputError, match=rf"samples of 2 and . variables.*more than {least}; pass more samples"):
        copula_information(x, y)
