"""What methods do after the cut, against slow oracles."""

import math

import pytest
import torch
from tiny import captured, divergence, logits_of, make_batches
from torch.testing import assert_close
from zoo import answers, build, inputs

from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.measuring.measure import count_parameters
from infoprune.methods.apply import choose, collect_for, prune_by, rank_once
from infoprune.methods.finish import finished
from infoprune.methods.kprune import prune_knowing
from infoprune.methods.table import METHODS, Method, method_named
from infoprune.plan import Plan
from infoprune.ranking.criteria import CRITERIA
from infoprune.repairing.mask_tuning import mask_factors, tune_masks
from infoprune.repairing.ridge import Sums
from infoprune.statistics.calibration import real_tokens
from infoprune.structure.linear import linear
from infoprune.structure.sites import find_sites
from infoprune.structure.slices import unit_coordinates
from infoprune.surgery import apply_plan

BATCHES = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 6)
KEEPS = (Keep(0.5), Budget("flops", 0.5))
OF_UNITS = [name for name in METHODS if name != "slicegpt"]  # which no BERT can have: tests/methods/test_slicegpt.py


def half(model):
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(0, n, 2)) for name, n in units.items()}
    return Plan("bert", units, kept, "hand", 0)


@pytest.fixture
def prepared(tiny_bert64):
    statistics = collect_for(list(METHODS.values()), tiny_bert64, BATCHES)
    return tiny_bert64, statistics, find_costs(tiny_bert64, "flops", BATCHES, multiple=1)


@pytest.mark.parametrize("name", OF_UNITS)
@pytest.mark.parametrize("goal", KEEPS, ids=["keep", "budget"])
def test_every_method_reaches_its_goal_and_says_the_same_again(prepared, name, goal):
    model, statistics, costs = prepared
    before = logits_of(model, BATCHES)
    (small, plan), (again, same) = (
        prune_by(METHODS[name], model, BATCHES, statistics, goal, costs, seed=1) for _ in range(2)
    )
    assert torch.equal(logits_of(model, BATCHES), before)
    assert plan == same
    assert torch.equal(logits_of(small, BATCHES), logits_of(again, BATCHES))
    sizes = {site.name: site.units for site in find_sites(small)}
    assert sizes == {each: kept for each, (kept, _) in plan.counts.items()}
    if isinstance(goal, Keep):
        assert all(2 * kept == of for kept, of in plan.counts.values())
    else:
        assert 0.4 * costs.dense < costs.of(sizes) <= 0.5 * costs.dense


@pytest.mark.parametrize("name", ["wanda", "kwon", "kprune"])
def test_the_common_repair_starts_from_the_same_choice(prepared, name):
    model, statistics, costs = prepared
    own, plan = prune_by(METHODS[name], model, BATCHES, statistics, Keep(0.5), costs)
    ours, same = prune_by(METHODS[name], model, BATCHES, statistics, Keep(0.5), costs, finish="repair")
    assert plan.kept == same.kept
    dense = logits_of(model, BATCHES)
    assert divergence(dense, logits_of(ours, BATCHES)) != divergence(dense, logits_of(own, BATCHES))


@pytest.mark.parametrize("name", [name for name in OF_UNITS if name != "kprune"])
def test_goals_may_share_rankings(prepared, name):
    model, statistics, costs = prepared
    rankings = rank_once(METHODS[name], statistics, seed=1)
    assert (rankings is None) == (name == "fan2021")  # which ranks beside what the goal preserves above
    for goal in KEEPS:
        alone, shared = (
            choose(METHODS[name], model, BATCHES, statistics, goal, costs, rankings=each, seed=1)
            for each in (None, rankings)
        )
        assert alone == shared


@pytest.mark.parametrize("name", ["kprune", "slicegpt"])
def test_some_have_no_rankings_to_share(prepared, name):
    assert rank_once(METHODS[name], prepared[1]) is None


def test_biases_take_up_means(prepared):
    """The mean of what every reader says of tokens is that of the dense one, where nothing below is cut."""
    model, statistics, _ = prepared
    plan = half(model)
    lowest = find_sites(model)[0]
    small = finished(model, plan, statistics, BATCHES, "means")
    means = []
    for each in (model, small):
        with captured(each, lowest.reader) as calls, torch.no_grad():
            for batch in BATCHES:
                each(**batch)
        means.append(torch.cat([y[real_tokens(b)] for (_, y), b in zip(calls, BATCHES, strict=True)]).mean(0))
    assert_close(means[0], means[1])
    bare = apply_plan(model, plan)
    assert torch.equal(linear(small, lowest.reader).weight, linear(bare, lowest.reader).weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_reader_without_bias_gets_one(dtype, tmp_path):
    """As above, of a Llama; the bias is saved, and is there again when the model is loaded, without its head too."""
    model, batches = build("llama", dtype), inputs("llama")
    statistics = collect_for([METHODS["flap"]], model, batches)
    kept = {site.name: tuple(range(1, site.units)) for site in find_sites(model)}
    plan = Plan("llama", {site.name: site.units for site in find_sites(model)}, kept, "hand", 0)
    small = finished(model, plan, statistics, batches, "means")
    for site in find_sites(model):
        each = statistics.sites[site.name]
        wanted = each.reader[:, : site.size] @ each.tokens.mean[: site.size]
        assert_close(linear(small, site.reader).bias, wanted.to(dtype))
    assert linear(apply_plan(model, plan), find_sites(model)[0].reader).bias is None
    small.save_pretrained(tmp_path / "plain")
    assert torch.equal(answers(type(model).from_pretrained(tmp_path / "plain"), batches), answers(small, batches))
    save(small, tmp_path / "out")
    assert torch.equal(answers(load(tmp_path / "out"), batches), answers(small, batches))
    assert count_parameters(load(tmp_path / "out")) == count_parameters(small)
    with torch.no_grad():
        hidden = [each(**batches[0]).last_hidden_state for each in (load(tmp_path / "out", headless=True), small.model)]
    assert torch.equal(*hidden)


def test_factors_are_damped_least_squares():
    """Against torch.linalg.lstsq of the equations and of the damping below them, from all tokens one by one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)
    target = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    counts = torch.ones(3, 4, dtype=torch.float64)
    counts[0, 2:] = 0
    for size in (1, 2, 3):
        units = 6 // size
        says = torch.stack(
            [x[..., u * size : (u + 1) * size] @ weight[:, u * size : (u + 1) * size].T for u in range(units)]
        )
        a = says[:, counts > 0].reshape(units, -1).T
        b = (target - bias)[counts > 0].reshape(-1)
        normal = a.T @ a
        stacked = torch.cat([normal, torch.eye(units, dtype=torch.float64)])
        right = torch.cat([a.T @ b - normal.sum(1), torch.zeros(units, dtype=torch.float64)])
        wanted = 1 + torch.linalg.lstsq(stacked, right[:, None]).solution[:, 0]
        sums = Sums.empty(6, 5, x.device)
        sums.update(x[counts > 0], target[counts > 0], counts[counts > 0])
        assert_close(mask_factors(sums, weight, bias, size), wanted)


def test_tuned_masks_are_factors_on_the_columns_of_units(prepared):
    model, statistics, _ = prepared
    plan = half(model)
    bare, tuned = apply_plan(model, plan), finished(model, plan, statistics, BATCHES, "masks")
    sites = find_sites(bare)
    for site in sites:
        ratio = linear(tuned, site.reader).weight / linear(bare, site.reader).weight
        factors = ratio[0].reshape(site.units, site.size)[:, 0]
        assert_close(ratio, factors.repeat_interleave(site.size).expand_as(ratio))
        assert (float((factors - 1).abs().max()) > 1e-3) == (site is not sites[0])


def test_factors_that_run_away_leave_all_above_alone(prepared):
    model, statistics, _ = prepared
    bare = apply_plan(model, half(model))
    small = tune_masks(bare, model, BATCHES, statistics, largest=1e-9)
    assert torch.equal(logits_of(small, BATCHES), logits_of(bare, BATCHES))


def test_least_squares_are_those_of_all_tokens(prepared):
    """At the lowest site, against numpy's way: inputs with a column of ones, damped by a hundredth of the variance."""
    model, statistics, _ = prepared
    plan = half(model)
    small = finished(model, plan, statistics, BATCHES, "least-squares")
    site = find_sites(model)[0]
    with captured(model, site.reader) as calls, torch.no_grad():
        for batch in BATCHES:
            model(**batch)
    real = [real_tokens(batch) for batch in BATCHES]
    columns = unit_coordinates(torch.tensor(plan.kept[site.name]), site.size)
    x = torch.cat([x[mask] for (x, _), mask in zip(calls, real, strict=True)])[:, columns]
    y = torch.cat([y[mask] for (_, y), mask in zip(calls, real, strict=True)])
    sliced = linear(model, site.reader).weight[:, columns]
    centred, wanted = x - x.mean(0), y - y.mean(0) - (x - x.mean(0)) @ sliced.T
    strength = math.sqrt(0.01 * float(centred.square().mean()) * len(x))
    stacked = torch.cat([centred, strength * torch.eye(x.shape[1], dtype=torch.float64)])
    right = torch.cat([wanted, torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)])
    step = torch.linalg.lstsq(stacked, right).solution.T
    assert_close(linear(small, site.reader).weight, sliced + step, rtol=1e-6, atol=1e-9)


def test_k_prune_under_a_budget_keeps_to_what_is_left(prepared):
    model, statistics, costs = prepared
    for share in (0.3, 0.6):
        _, plan = prune_knowing(model, BATCHES, statistics, Budget("flops", share), costs)
        assert costs.of({name: kept for name, (kept, _) in plan.counts.items()}) <= share * costs.dense


def test_names():
    assert set(METHODS) == {*CRITERIA, "kprune", "slicegpt"} - {"reap", "frequency"}, "which rank experts alone"
    assert method_named("flap") == Method("flap", "threshold", "means")
    with pytest.raises(InputError, match=r"criterion 'guess' is not known; expected one of: information, .*kprune"):
        method_named("guess")


def test_a_budget_without_costs(prepared):
    model, statistics, _ = prepared
    for name in ("kwon", "kprune", "fan2021"):
        with pytest.raises(InputError, match="budget of flops needs the costs of the model"):
            prune_by(METHODS[name], model, BATCHES, statistics, Budget("flops", 0.5))


def test_an_even_division_may_be_asked_for(prepared):
    model, statistics, costs = prepared
    plans = [
        choose(METHODS["flap"], model, BATCHES, statistics, Budget("flops", 0.5, allocation), costs)
        for allocation in (None, "uniform")
    ]
    assert plans[0].counts != plans[1].counts
    assert len({kept / of for kept, of in plans[1].counts.values()}) <= 2
