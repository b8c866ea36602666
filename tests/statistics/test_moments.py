from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import normal
from torch.testing import assert_close

from infoprune.statistics.moments import Moments
from infoprune.statistics.products import PANEL, add_products


def gathered(x, weights=None):
    moments = Moments.empty(x.shape[1])
    moments.update(x, weights)
    return moments


def assert_same(a, b, tolerance=1e-12):
    assert a.rows == b.rows
    assert a.weight == pytest.approx(b.weight, rel=tolerance)
    assert_close(a.mean, b.mean, rtol=tolerance, atol=tolerance)
    assert_close(a.scatter, b.scatter, rtol=tolerance, atol=tolerance)


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 40), max_size=6),
    variables=st.integers(1, 6),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_split_equals_the_whole(cuts, variables, weighted, seed):
    x = normal(40, variables, seed=seed)
    weights = normal(40, seed=seed + 1).clamp_min(0) if weighted else None
    parts = Moments.empty(variables)
    bounds = [0, *sorted(cuts), 40]
    for start, stop in pairwise(bounds):
        parts.update(x[start:stop], None if weights is None else weights[start:stop])
    assert_same(parts, gathered(x, weights))


def test_equal_to_torch_cov():
    x = normal(50, 7) + 3
    moments = gathered(x)
    assert moments.weight == moments.rows == 50
    assert_close(moments.mean, x.mean(0))
    assert_close(moments.covariance, torch.cov(x.T, correction=0))


def test_weights_are_those_of_numpy():
    x, weights = normal(50, 7), normal(50, seed=1).abs()
    moments = gathered(x, weights)
    assert_close(moments.covariance.numpy(), np.cov(x.numpy().T, aweights=weights.numpy(), ddof=0))
    assert_close(moments.mean.numpy(), np.average(x.numpy(), axis=0, weights=weights.numpy()))


def test_whole_weights_count_rows():
    x, counts = normal(20, 3), torch.randint(0, 4, (20,), generator=torch.Generator().manual_seed(0))
    moments, repeated = gathered(x, counts.double()), gathered(x.repeat_interleave(counts, 0))
    assert moments.rows == int((counts > 0).sum())
    assert moments.weight == repeated.weight
    assert_close(moments.covariance, repeated.covariance)


def test_an_offset_costs_no_digits():
    x = normal(4000, 3)
    parts = Moments.empty(3)
    for block in (x + 1e6).split(37):
        parts.update(block)
    # the offset itself is rounded to 1e-10; the textbook E[x^2] - E[x]^2 would be off by 1e-4
    assert_close(parts.covariance, torch.cov(x.T, correction=0), rtol=1e-9, atol=1e-9)


def test_rows_of_weight_zero_are_not_there():
    x, weights = normal(10, 3), torch.ones(10, dtype=torch.float64)
    x[4:6], weights[4:6] = torch.nan, 0
    assert_same(gathered(x, weights), gathered(torch.cat([x[:4], x[6:]])))


@pytest.mark.parametrize("sizes", [(12, 30), (0, 5), (5, 0), (0, 0)])
def test_merging_is_commutative(sizes):
    blocks = [normal(rows, 4, seed=rows) + rows for rows in sizes]
    ab, ba = gathered(blocks[0]), gathered(blocks[1])
    ab.merge(gathered(blocks[1]))
    ba.merge(gathered(blocks[0]))
    assert_same(ab, ba)
    assert_same(ab, gathered(torch.cat(blocks)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_double(dtype):
    x = (normal(3000, 5) + 20).to(dtype)  # sums of squares near 1e6: out of reach of every half precision
    moments = gathered(x)
    assert moments.mean.dtype == moments.triangle.dtype == torch.float64
    # of rows that are centred first, each product is rounded to float32
    assert_close(moments.covariance, torch.cov(x.double().T, correction=0), rtol=1e-5, atol=1e-5)


def test_no_rows():
    moments = Moments.empty(3)
    moments.update(normal(0, 3))
    moments.update(normal(2, 3), torch.zeros(2))
    assert (moments.weight, moments.rows) == (0.0, 0)
    assert moments.covariance.count_nonzero() == 0


def test_scaled_weights_leave_the_covariance():
    moments = gathered(normal(30, 4))
    scaled = moments.scaled(2.5)
    assert scaled.weight == 75
    assert_close(scaled.covariance, moments.covariance)
    scaled.update(normal(30, 4, seed=1))
    assert_same(moments, gathered(normal(30, 4)))  # the original is not written to


@pytest.mark.parametrize("variables", [1, PANEL - 1, PANEL, PANEL + 1, 2 * PANEL + 3])
def test_products_by_panels(variables):
    x, triangle = normal(5, variables), torch.zeros(variables, variables, dtype=torch.float64)
    add_products(triangle, x)
    assert_close(triangle.tril(), (x.T @ x).tril())
