import numpy as np
import pytest
import torch
from tiny import normal
from torch.testing import assert_close

from infoprune.repairing.ridge import GRID, Regression, Sums, descend, fit_ridge, summed, sums_by_part

TEXTS, LENGTH, INPUTS, OUTPUTS = 12, 5, 4, 3


def data(noise=0.1, seed=0, texts=TEXTS):
    """Inputs, targets, weights, and the map from one to the other."""
    x = normal(texts, LENGTH, INPUTS, seed=seed) @ normal(INPUTS, INPUTS, seed=1) + 2
    true, bias = normal(OUTPUTS, INPUTS, seed=2), normal(OUTPUTS, seed=3)
    target = x @ true.T + bias + noise * normal(texts, LENGTH, OUTPUTS, seed=seed + 4)
    weights = normal(texts, LENGTH, seed=seed + 5).abs()
    weights[:, -1] = 0  # padding
    return (x, target, weights), (true, bias)


def flat(rows):
    x, target, weights = rows
    return x.reshape(-1, INPUTS), target.reshape(-1, OUTPUTS), weights.reshape(-1)


def objective(weight, bias, rows, anchor, ridge):
    """What is minimised, by its definition."""
    x, target, w = flat(rows)
    share = w / w.sum()
    level = torch.cov(x.T, correction=0, aweights=w).diagonal().mean()
    error = (share * (x @ weight.T + bias - target).square().sum(1)).sum()
    return error + ridge * level * (weight - anchor).square().sum()


def fit(rows, anchor, ridge=None, **options):
    starts = [sum(len(x) for x, _, _ in rows[:index]) for index in range(len(rows))]
    return fit_ridge(sums_by_part(rows, starts, anchor), anchor, ridge=ridge, **options)


def chosen_ridge(rows, anchor, **options):
    """Which strength of the grid explains the fit."""
    found, _ = fit(rows, anchor, ridge=None, **options)
    apart = [float((found - fit(rows, anchor, ridge=r, **options)[0]).norm()) for r in GRID]
    return GRID[int(np.argmin(apart))]


def test_without_ridge_it_is_weighted_least_squares():
    rows, _ = data()
    x, target, w = (each.numpy() for each in flat(rows))
    weight, bias = fit([rows], torch.zeros(OUTPUTS, INPUTS), ridge=1e-13)
    full = np.linalg.lstsq(np.c_[x, np.ones(len(x))] * w[:, None] ** 0.5, target * w[:, None] ** 0.5, rcond=None)[0]
    assert_close(weight.numpy(), full[:-1].T, rtol=1e-8, atol=1e-8)
    assert_close(bias.numpy(), full[-1], rtol=1e-8, atol=1e-8)
    through, zero = fit([rows], torch.zeros(OUTPUTS, INPUTS), ridge=1e-13, intercept=False)
    expected = np.linalg.lstsq(x * w[:, None] ** 0.5, target * w[:, None] ** 0.5, rcond=None)[0].T
    assert_close(through.numpy(), expected, rtol=1e-8, atol=1e-8)
    assert zero.count_nonzero() == 0


@pytest.mark.parametrize("ridge", GRID)
def test_it_is_the_minimum(ridge):
    rows, _ = data()
    anchor = normal(OUTPUTS, INPUTS, seed=8)
    weight, bias = fit([rows], anchor, ridge=ridge)
    weight, bias = weight.requires_grad_(), bias.requires_grad_()
    value = objective(weight, bias, rows, anchor, ridge)
    for gradient in torch.autograd.grad(value, (weight, bias)):
        assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


def test_much_ridge_returns_the_anchor():
    rows, _ = data()
    anchor = normal(OUTPUTS, INPUTS, seed=8)
    weight, bias = fit([rows], anchor, ridge=1e12)
    assert_close(weight, anchor, rtol=1e-8, atol=1e-8)
    x, target, w = flat(rows)
    assert_close(bias, ((target - x @ anchor.T) * w[:, None]).sum(0) / w.sum(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("ridge", [0.1, None])
@pytest.mark.parametrize("size", [1, 3, 5, 12])
def test_any_split_into_batches_gives_the_same_fit(ridge, size):
    rows, _ = data(noise=1.0)
    anchor = torch.zeros(OUTPUTS, INPUTS)
    whole = fit([rows], anchor, ridge=ridge)
    parts = fit(list(zip(*(each.split(size) for each in rows), strict=True)), anchor, ridge=ridge)
    assert_close(parts, whole, rtol=1e-9, atol=1e-9)


def test_weights_count_rows():
    (x, target, _), _ = data()
    counts = torch.randint(0, 4, (TEXTS, LENGTH), generator=torch.Generator().manual_seed(0)).double()
    sums = Sums.empty(INPUTS, OUTPUTS, x.device)
    repeated = Sums.empty(INPUTS, OUTPUTS, x.device)
    xs, targets, w = flat((x, target, counts))
    sums.update(xs, targets, w)
    times = w.long()
    repeated.update(xs.repeat_interleave(times, 0), targets.repeat_interleave(times, 0), torch.ones(int(w.sum())))
    assert_close((sums.xx, sums.xt), (repeated.xx, repeated.xt))
    assert sums.tt == pytest.approx(repeated.tt)


def test_error_is_the_sum_of_squares():
    rows, (true, bias) = data()
    x, target, w = flat(rows)
    sums = Sums.empty(INPUTS, OUTPUTS, x.device)
    sums.update(x, target, w)
    expected = float((w * (x @ true.T + bias - target).square().sum(1)).sum())
    assert sums.error(true, bias) == pytest.approx(expected)
    assert summed([sums, sums]).error(true, bias) == pytest.approx(2 * expected)


def test_validation_trusts_exact_targets_and_not_noise():
    exact, (_, bias) = data(noise=0, texts=40)
    assert chosen_ridge([exact], torch.zeros(OUTPUTS, INPUTS)) == min(GRID)
    x, _, weights = exact
    anchor = normal(OUTPUTS, INPUTS, seed=8)
    noise = (x, x @ anchor.T + bias + 30 * normal(40, LENGTH, OUTPUTS, seed=9), weights)
    assert chosen_ridge([noise], anchor) >= 1


def test_one_text_leaves_the_anchor_nearly_alone():
    rows, _ = data(texts=1)
    assert chosen_ridge([rows], normal(OUTPUTS, INPUTS, seed=8)) == max(GRID)


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e3])
@pytest.mark.parametrize("ridge", [None, 1e-3])
def test_inputs_that_never_move(offset, ridge):
    x, target = torch.full((8, LENGTH, INPUTS), offset), normal(8, LENGTH, OUTPUTS)
    anchor = normal(OUTPUTS, INPUTS, seed=8)
    weight, bias = fit([(x, target, torch.ones(8, LENGTH))], anchor, ridge=ridge)
    mean = target.mean((0, 1))
    assert_close(x[0, 0].double() @ weight.T + bias, mean, rtol=1e-6, atol=1e-6)
    assert_close(weight, anchor, rtol=1e-6, atol=1e-6)


def test_inputs_beyond_the_rank_are_held_by_the_ridge():
    x, target = normal(2, 1, INPUTS), normal(2, 1, OUTPUTS)
    weight, bias = fit([(x, target, torch.ones(2, 1))], torch.zeros(OUTPUTS, INPUTS), ridge=1e-3)
    assert torch.isfinite(weight).all()
    assert float((x @ weight.T + bias - target).norm() / target.norm()) < 0.05


def test_solving_leaves_the_sums_alone():
    rows, _ = data()
    sums = Sums.empty(INPUTS, OUTPUTS, torch.device("cpu"))
    sums.update(*flat(rows))
    before = sums.xx.clone(), sums.xt.clone()
    Regression.of(sums, torch.zeros(OUTPUTS, INPUTS).double(), intercept=True).solve(0.1)
    assert_close((sums.xx, sums.xt), before, rtol=0, atol=0)


@pytest.mark.parametrize("lowest", range(9))
def test_a_descent_finds_the_minimum_of_what_falls_and_rises(lowest):
    asked = []

    def error(index):
        asked.append(index)
        return abs(index - lowest) ** 1.5

    assert descend(error, 9) == lowest
    assert len(set(asked)) <= abs(lowest - 4) + 3, "it asks for no more than the way down and one step beyond"


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0, 3.0, 10.0])
def test_the_strength_is_the_best_of_the_whole_grid(noise):
    """The oracle fits without every fourth text, at every strength."""
    rows, _ = data(noise=noise, seed=7, texts=40)
    anchor = torch.zeros(OUTPUTS, INPUTS)
    held_out = tuple(each[::4] for each in rows)
    others = tuple(torch.cat([each[at::4] for at in (1, 2, 3)]) for each in rows)
    errors = []
    for ridge in GRID:
        weight, bias = fit([others], anchor, ridge=ridge)
        x, target, w = flat(held_out)
        errors.append(float((w * (x @ weight.T + bias - target).square().sum(1)).sum()))
    assert chosen_ridge([rows], anchor) == GRID[int(np.argmin(errors))]


def test_a_part_without_samples_is_not_held_out():
    """The first text of every four says nothing, as where an expert reads none of its tokens."""
    (x, target, weights), _ = data(noise=1.0, texts=40)
    weights[::4] = 0
    rest = tuple(torch.cat([each[at::4] for at in (1, 1, 2, 3)]).unflatten(0, (4, 10)) for each in (x, target, weights))
    ordered = tuple(each.transpose(0, 1).flatten(0, 1) for each in rest)  # the second of every four is first, too
    ordered[2][1::4] = 0
    anchor = torch.zeros(OUTPUTS, INPUTS)
    assert chosen_ridge([(x, target, weights)], anchor) == chosen_ridge([ordered], anchor)
    assert_close(fit([(x, target, weights)], anchor), fit([ordered], anchor), rtol=1e-9, atol=1e-9)
