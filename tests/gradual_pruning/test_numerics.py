"""The parts of the methods that choose while they train, each against a slow and independent way to say the same."""

import math

import pytest
import torch
from scipy.integrate import quad
from tiny import normal
from torch.testing import assert_close

from infoprune.gradual_pruning import hard_concrete
from infoprune.gradual_pruning.cubic import Cubic
from infoprune.gradual_pruning.masks import largest_entries, largest_together, masked


def test_the_cubic_schedule_is_zhu_and_gupta_s():
    cubic = Cubic(200, 0.1, start=0.1, end=0.6)
    begin, span, final = 20, 100, 0.9  # t_0, n dt and s_f of their equation, with s_i = 0
    for step in range(201):
        gone = 0 if step < begin else final + (0 - final) * (1 - min(step - begin, span) / span) ** 3
        assert math.isclose(cubic.share(step), 1 - gone)
        assert cubic.settled(step) == (step >= 120)
    shares = [cubic.share(step) for step in range(201)]
    assert shares[:21] == [1.0] * 21
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.2, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_largest_are_those_that_sorting_puts_last(keep, dtype):
    scores = torch.randperm(150, generator=torch.Generator().manual_seed(0)).reshape(10, 15).to(dtype)
    chosen = largest_entries(scores, keep)
    ranked = sorted(range(150), key=lambda i: (-float(scores.flatten()[i]), i))
    assert {*chosen.flatten().nonzero()[:, 0].tolist()} == {*ranked[: round(keep * 150)]}


@pytest.mark.parametrize("scores", [torch.zeros(3, 4), torch.tensor([2.0, 1, 1, 1, 0, 1])])
def test_of_equal_scores_the_first_stay_and_the_number_is_exact(scores):
    flat = scores.flatten().tolist()
    for count in range(len(flat) + 1):
        ranked = sorted(range(len(flat)), key=lambda i: (-flat[i], i))
        assert largest_entries(scores, count / len(flat)).flatten().nonzero()[:, 0].tolist() == sorted(ranked[:count])


def test_one_ranking_for_all_is_that_of_their_entries_in_a_row():
    parts = [normal(3, 4, seed=0), normal(5, seed=1), 10 + normal(2, 2, seed=2)]
    limit = torch.cat([part.flatten() for part in parts]).sort(descending=True).values[6]
    for part, chosen in zip(parts, largest_together(parts, 7 / 21), strict=True):
        assert torch.equal(chosen, part >= limit)


def test_a_score_feels_what_a_factor_on_its_weight_would():
    """dL/dS = dL/dW' * W, by an ordinary factor m = mask: dL/dm = dL/dW' * W."""
    weight, scores, x = (normal(4, 3, seed=seed).requires_grad_() for seed in (0, 1, 2))
    mask = normal(4, 3, seed=3) > 0

    def loss(effective):
        return ((x @ effective.T).tanh() ** 2).sum()

    out = masked(weight, scores, mask)
    assert torch.equal(out, weight * mask)
    ours = torch.autograd.grad(loss(out), (weight, scores))
    factor = mask.double().requires_grad_()
    theirs = torch.autograd.grad(loss(weight * factor), (weight, factor))
    assert_close(ours, theirs, rtol=0, atol=1e-14)
    effective = (weight * mask).detach().requires_grad_()
    (felt,) = torch.autograd.grad(loss(effective), effective)
    assert_close(ours[1], felt * weight.detach(), rtol=0, atol=1e-14)


LOCATIONS = torch.tensor([-3.0, -1.0, 0.0, 0.5, 2.0], dtype=torch.float64)


def test_a_gate_is_open_as_often_as_the_formula_says():
    noise = torch.rand(200_000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sampled = hard_concrete.sample_gates(LOCATIONS.expand_as(noise), noise)
    assert ((sampled >= 0) & (sampled <= 1)).all()
    often, formula = (sampled > 0).double().mean(0), hard_concrete.open_probability(LOCATIONS)
    error = (formula * (1 - formula) / len(noise)).sqrt()
    assert ((often - formula).abs() < 4 * error).all()
    assert (sampled == 1).any(), "it is exactly open, too, with some probability"


def test_the_mean_of_a_gate_is_that_of_its_distribution():
    """E z = integral of P(z > h) over h, with P(z > h) = P(u > u_h) for the u that gives h."""
    noise = torch.rand(200_000, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sampled = hard_concrete.sample_gates(LOCATIONS.expand_as(noise), noise)
    for location, mean, spread in zip(LOCATIONS.tolist(), sampled.mean(0), sampled.std(0), strict=True):

        def exceeds(h, location=location):
            inner = (h + 0.1) / 1.2
            return 1 / (1 + math.exp(2 / 3 * math.log(inner / (1 - inner)) - location))

        wanted, _ = quad(exceeds, 0, 1)
        assert abs(float(mean) - wanted) < 4 * float(spread) / len(noise) ** 0.5


def test_the_expected_norm_has_the_gradient_that_small_steps_show():
    def norm(location):
        return hard_concrete.open_probability(location).sum()

    location = LOCATIONS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(norm(location), location)
    for index in range(len(LOCATIONS)):
        step = torch.zeros_like(LOCATIONS)
        step[index] = 1e-5
        slope = (norm(LOCATIONS + step) - norm(LOCATIONS - step)) / 2e-5
        assert math.isclose(float(slope), float(gradient[index]), rel_tol=1e-8)


def test_a_drawn_gate_passes_a_gradient_where_it_is_neither_open_nor_closed():
    location = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    noise = torch.tensor([1e-6, 0.4, 1 - 1e-6], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(hard_concrete.sample_gates(location, noise).sum(), location)
    assert (gradient != 0).tolist() == [False, True, False]


def test_a_gate_that_stays_is_not_closed_and_larger_ones_stay_larger():
    values = hard_concrete.settled(LOCATIONS)
    assert (values > 0).all()
    assert (values.diff() > 0).all()
