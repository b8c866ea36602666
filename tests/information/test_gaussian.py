"""Gaussian information against determinants, closed forms and the laws of information."""

import math

import pytest
import torch
from tiny import normal, spread
from torch.testing import assert_close

from infoprune.errors import InputError
from infoprune.information import (
    block_information,
    conditional_covariance,
    correlation_information,
    gaussian_information,
)

N = 12
COVARIANCE = spread(N)


def logdet(indices):
    index = torch.tensor(indices)
    return float(torch.linalg.slogdet(COVARIANCE[index][:, index]).logabsdet) if len(indices) else 0.0


def by_determinants(x, y, z=()):
    x, y, z = list(x), list(y), list(z)
    return (logdet(x + z) + logdet(y + z) - logdet(z) - logdet(x + y + z)) / 2


BLOCKS = [
    ([0], [1], []),
    ([0, 3], [1], []),
    ([2], [1, 4, 5, 6], []),
    ([0, 1, 2], [3, 4], []),
    ([0], [1], [2]),
    ([0, 1], [2, 3, 4], [5, 6]),
    ([0, 7, 3], [9, 2, 1], [11, 4, 5, 8]),
]


@pytest.mark.parametrize(("x", "y", "z"), BLOCKS)
def test_as_by_determinants(x, y, z):
    assert gaussian_information(COVARIANCE, x, y, z) == pytest.approx(by_determinants(x, y, z), rel=1e-10)


@pytest.mark.parametrize(("x", "y", "z"), BLOCKS)
def test_symmetric_and_not_negative(x, y, z):
    information = gaussian_information(COVARIANCE, x, y, z)
    assert information == pytest.approx(gaussian_information(COVARIANCE, y, x, z), rel=1e-12)
    assert information >= 0


def test_chain_rule():
    joint = gaussian_information(COVARIANCE, [0, 1, 2, 3], [4, 5])
    first = gaussian_information(COVARIANCE, [0, 1], [4, 5])
    rest = gaussian_information(COVARIANCE, [2, 3], [4, 5], given=[0, 1])
    assert joint == pytest.approx(first + rest, rel=1e-12)


@pytest.mark.parametrize("correlation", [-0.99, -0.3, 0.0, 1e-9, 0.5, 0.999999])
def test_a_pair_by_its_correlation(correlation):
    expected = -0.5 * math.log(1 - correlation**2)
    covariance = torch.tensor([[4.0, 6 * correlation], [6 * correlation, 9.0]], dtype=torch.float64)
    assert gaussian_information(covariance, [0], [1]) == pytest.approx(expected, rel=1e-9, abs=1e-17)
    assert float(correlation_information(torch.tensor(correlation))) == pytest.approx(expected, rel=1e-1, abs=1e-17)
    exact = torch.tensor([correlation], dtype=torch.float64)
    assert float(correlation_information(exact)) == pytest.approx(expected, rel=1e-9, abs=1e-17)


def test_a_copy_says_everything():
    assert math.isinf(correlation_information(torch.tensor(-1.0)))
    assert math.isinf(correlation_information(torch.tensor(1 + 1e-15, dtype=torch.float64))), "more by rounding"
    copied = COVARIANCE[[0, 1, 2, 0]][:, [0, 1, 2, 0]]
    assert gaussian_information(copied, [0], [3]) > 15
    assert gaussian_information(copied, [0, 1], [3, 2]) > 15


@pytest.mark.parametrize("size", [1, 3])
def test_a_correlation_that_rounding_makes_larger_than_one_is_one(size):
    for seed in range(12):
        covariance = spread(6, seed)
        said = block_information(covariance, covariance, covariance, size, size).diagonal()
        assert (said > 10).all()  # infinite but for rounding, and never NaN


def test_independent_blocks_say_nothing():
    covariance = torch.block_diag(spread(3), spread(4, seed=1))
    assert gaussian_information(covariance, [0, 1, 2], [3, 4, 5, 6]) == 0


def test_invariant_to_invertible_maps():
    change = torch.block_diag(normal(5, 5, seed=1), normal(7, 7, seed=2))
    mapped = change @ COVARIANCE @ change.T
    x, y = range(5), range(5, 12)
    assert gaussian_information(mapped, x, y) == pytest.approx(gaussian_information(COVARIANCE, x, y), rel=1e-8)


@pytest.mark.parametrize("noise", [0.1, 1.0, 10.0])
def test_channel_with_noise(noise):
    """Y = W x + noise: I = 1/2 logdet(1 + W C W^T / noise), the capacity formula."""
    c, w = spread(4), normal(3, 4)
    joint = torch.cat([torch.cat([c, c @ w.T], 1), torch.cat([w @ c, w @ c @ w.T + noise * torch.eye(3).double()], 1)])
    expected = float(torch.linalg.slogdet(torch.eye(3).double() + w @ c @ w.T / noise).logabsdet) / 2
    assert gaussian_information(joint, range(4), range(4, 7)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("x_size", [1, 2, 4])
@pytest.mark.parametrize("y_size", [1, 2, 4, None])
def test_blocks_are_those_of_single_calls(x_size, y_size):
    xx, xy, yy = COVARIANCE[:8, :8], COVARIANCE[:8, 8:], COVARIANCE[8:, 8:]
    table = block_information(xx, xy, yy, x_size, y_size)
    y_step = y_size or 4
    assert table.shape == (8 // x_size, 4 // y_step)
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            x = range(i * x_size, (i + 1) * x_size)
            y = range(8 + j * y_step, 8 + (j + 1) * y_step)
            assert float(value) == pytest.approx(by_determinants(x, y), rel=1e-9)


def test_single_coordinates_are_squared_multiple_correlations():
    x = normal(100, 3)
    y = x @ normal(3, 5, seed=1) + normal(100, 5, seed=2)
    joint = torch.cov(torch.cat([x, y], 1).T)
    table = block_information(joint[:3, :3], joint[:3, 3:], joint[3:, 3:])
    y_design = torch.cat([y, torch.ones(100, 1)], 1)
    residual = x - y_design @ torch.linalg.lstsq(y_design, x).solution
    r2 = 1 - residual.var(0) / x.var(0)
    assert_close(table[:, 0], -(1 - r2).log() / 2)


def test_conditional_covariance_is_that_of_residuals():
    x, y = normal(60, 4), normal(60, 3, seed=1)
    x = x + y @ normal(3, 4, seed=2)
    joint = torch.cov(torch.cat([x, y], 1).T)
    design = torch.cat([y, torch.ones(60, 1)], 1)
    residual = x - design @ torch.linalg.lstsq(design, x).solution
    assert_close(conditional_covariance(joint[:4, :4], joint[:4, 4:], joint[4:, 4:]), torch.cov(residual.T))


@pytest.mark.parametrize(("x", "y"), [([0], [1]), ([1], [0]), ([0, 2], [1]), ([0], [1, 2])])
def test_constant_variables_are_refused(x, y):
    covariance = torch.diag(torch.tensor([0.0, 0.0, 1.0]))
    with pytest.raises(InputError, match=r"not positive definite.*add a small multiple of the identity"):
        gaussian_information(covariance, x, y)
