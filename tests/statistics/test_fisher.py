import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import normal
from torch.testing import assert_close

from infoprune.statistics.fisher import EXACT_CLASSES, directions, softmax_factor, softmax_samples
from infoprune.statistics.random_numbers import RandomNumbers


def fisher(logits):
    p = logits.double().softmax(-1)
    return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]


def stacked(factor):
    return torch.stack(tuple(factor))


def product(factor):
    """Sum over directions of d d^T, for every softmax."""
    factor = stacked(factor)
    return torch.einsum("d...i,d...j->...ij", factor, factor)


def generator(seed=0):
    return RandomNumbers(seed)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-2000, 2000) | st.floats(-3, 3), min_size=2, max_size=9))
def test_factor_of_any_softmax(values):
    logits = torch.tensor([values], dtype=torch.float64)
    factor = softmax_factor(logits)
    assert factor.shape == (len(values) - 1, 1, len(values))
    assert_close(product(factor), fisher(logits), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "logits",
    [
        [0.0, 0.0],
        [0.0, -1e4],
        [-1e4, 0.0],
        [-math.inf, 0.0, -math.inf],
        [0.0, -745.0, -745.0],
        [-800.0, 0.0, -709.0, 0.0],
        [700.0, -700.0, 699.0],
    ],
)
def test_factor_where_probabilities_underflow(logits):
    logits = torch.tensor([logits], dtype=torch.float64)
    assert_close(product(softmax_factor(logits)), fisher(logits), rtol=0, atol=1e-14)


def test_small_probabilities_keep_their_digits():
    logits = torch.tensor([[0.0, -60.0, -61.0]], dtype=torch.float64)  # a sure prediction still demands something
    p = logits[0].softmax(-1)
    expected = fisher(logits)[0]
    expected[0, 0] = p[0] * (p[1] + p[2])  # p_0 - p_0^2 is rounded to zero
    scale = expected.diagonal().sqrt()
    difference = (product(softmax_factor(logits))[0] - expected) / (scale * scale[:, None])
    assert float(difference.abs().max()) < 1e-10


def test_every_softmax_of_a_batch_has_its_own_factor():
    logits = normal(3, 4, 5)
    assert_close(product(softmax_factor(logits)), fisher(logits), rtol=0, atol=1e-14)


def test_two_classes_need_one_direction():
    p = torch.tensor(0.3)
    direction = softmax_factor(torch.stack([p, 1 - p]).log()[None])
    half = math.sqrt(0.3 * 0.7)
    assert_close(direction, torch.tensor([[[half, -half]]], dtype=torch.float64), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fisher_samples", [1, 4])
def test_draws_are_unbiased(fisher_samples):
    logits = normal(2, 6)
    rows = logits.repeat(40_000 // fisher_samples, 1, 1)
    samples = product(softmax_samples(rows, fisher_samples, generator()))
    deviation = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - fisher(logits)).abs() < 5 * deviation).all()


def test_few_classes_are_exact_and_many_are_drawn():
    few, many = normal(3, EXACT_CLASSES), normal(3, EXACT_CLASSES + 1)
    assert_close(stacked(directions(few, EXACT_CLASSES, generator())), softmax_factor(few))
    assert stacked(directions(many, 4, generator())).shape == (4, 3, EXACT_CLASSES + 1)


def test_a_softmax_at_every_token_is_drawn():
    logits = normal(3, 5, 2)
    assert_close(stacked(directions(logits, 7, generator())), stacked(softmax_samples(logits, 7, generator())))


def test_the_seed_decides_the_draw():
    logits = normal(50, 20)
    first, again, other = (stacked(softmax_samples(logits, 4, generator(seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def fisher_of_sigmoids(logits):
    p = logits.double().sigmoid()
    return torch.diag_embed(p * (1 - p))


def test_several_labels_and_numbers_have_exact_factors():
    few = 3 * normal(4, 5)
    assert_close(product(directions(few, 5, generator(), "sigmoid")), fisher_of_sigmoids(few))
    assert_close(product(directions(few, 5, generator(), "gaussian")), torch.eye(5).double().expand(4, 5, 5))


def test_a_sure_label_keeps_its_digits():
    z = torch.tensor([[40.0]], dtype=torch.float64)
    assert product(directions(z, 4, generator(), "sigmoid")).item() == pytest.approx(math.exp(-40), rel=1e-12)


@pytest.mark.parametrize("law", ["softmax", "sigmoid", "gaussian"])
def test_fewer_directions_than_exact_ones_are_unbiased(law):
    outputs = normal(1, 6)
    rows = outputs.repeat(20_000, 1)
    mixed = stacked(directions(rows, 2, generator(), law))
    assert mixed.shape == (2, 20_000, 6)
    found = torch.einsum("dri,drj->ij", mixed, mixed) / len(rows)
    assert_close(found, product(directions(outputs, 6, generator(), law))[0], rtol=0, atol=0.02)


@pytest.mark.parametrize("law", ["sigmoid", "gaussian"])
def test_draws_of_other_laws_are_unbiased(law):
    outputs = normal(1, EXACT_CLASSES + 1)
    rows = outputs.repeat(20_000, 1)
    factor = stacked(directions(rows, 2, generator(), law))
    expected = fisher_of_sigmoids(outputs)[0] if law == "sigmoid" else torch.eye(EXACT_CLASSES + 1).double()
    samples = torch.einsum("dri,drj->ij", factor, factor) / len(rows)
    assert_close(samples, expected, rtol=0, atol=6 / len(rows) ** 0.5)
