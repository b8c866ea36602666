import pytest
import torch
from tiny import make_batches

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.ranking.scores import Magnitude
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites

BATCHES = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 4)


@pytest.fixture
def rankings(tiny_bert):
    return rank(collect(tiny_bert, BATCHES), ChannelInformation())


@pytest.mark.parametrize("allocation", ["nats", "uniform"])
@pytest.mark.parametrize("quantity", ["flops", "params", "bytes"])
@pytest.mark.parametrize("share", [0.6, 0.75, 0.9, 1.0])
def test_budgets_are_met_within_one_rounding_step(tiny_bert, rankings, allocation, quantity, share):
    costs = find_costs(tiny_bert, quantity, BATCHES, multiple=8)
    counts = {n: k for n, (k, _) in allocate(rankings, Budget(quantity, share, allocation), costs).counts.items()}
    slack = share * costs.dense - costs.of(counts)
    for name, sizes in costs.sizes.items():
        assert counts[name] in sizes
        if counts[name] < sizes[-1]:
            larger = min(size for size in sizes if size > counts[name])
            assert slack < float(costs.sites[name][larger] - costs.sites[name][counts[name]])
    assert slack >= -1e-6 * costs.dense
    assert (share < 1) or (slack == 0)


def test_nats_lose_less_than_uniform_at_the_same_cost(tiny_bert, rankings):
    costs = find_costs(tiny_bert, "flops", BATCHES, multiple=1)
    for share in (0.3, 0.5, 0.7, 0.9):
        free, even = (allocate(rankings, Budget("flops", share, a), costs).nats_lost for a in ("nats", "uniform"))
        assert free < even


def test_uniform_keeps_the_same_share_everywhere(tiny_bert, rankings):
    costs = find_costs(tiny_bert, "flops", BATCHES, multiple=8)
    half = allocate(rankings, Budget("flops", 0.5, "uniform"), costs).counts
    by_keep = allocate(rankings, Keep(0.5)).counts
    assert (
        sum(half[name] != by_keep[name] for name in half) <= 1
    )  # what the rest of the model costs is missing somewhere
    for share in (0.35, 0.55, 0.7, 0.85):
        counts = allocate(rankings, Budget("flops", share, "uniform"), costs).counts
        for structure, step in (("heads", 1), ("ffn", 8)):
            kept = [k for name, (k, _) in counts.items() if name.endswith(structure)]
            assert max(kept) - min(kept) <= step


def test_more_budget_never_loses_more(tiny_bert, rankings):
    costs = find_costs(tiny_bert, "params", BATCHES, multiple=1)
    lost = [allocate(rankings, Budget("params", share / 100, "nats"), costs).nats_lost for share in range(50, 101, 5)]
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] == 0


def test_plans_are_the_last_of_every_ranking(tiny_bert, rankings):
    costs = find_costs(tiny_bert, "flops", BATCHES, multiple=8)
    plan = allocate(rankings, Budget("flops", 0.5), costs)
    lost = 0.0
    for name, kept in plan.kept.items():
        ranking = rankings.sites[name]
        assert set(kept) == set(ranking.order[-len(kept) :].tolist())
        lost += float(ranking.losses[: len(ranking.losses) - len(kept)].sum())
    assert plan.nats_lost == pytest.approx(lost)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_curves_say_what_a_plan_loses(rankings, share):
    curves = rankings.curves()
    assert list(curves) == list(rankings.sites)
    together = sum(curve[round(20 * share)] for curve in curves.values())
    assert together == pytest.approx(allocate(rankings, Keep(share)).nats_lost, rel=1e-5, abs=1e-12)
    for name, curve in curves.items():
        assert curve[0] == pytest.approx(float(rankings.sites[name].losses.sum()), rel=1e-5)
        assert len(curve) == 21


def test_curves_between_two_numbers_of_units_are_between_their_losses(rankings):
    name, ranking = next(each for each in rankings.sites.items() if each[1].site.units == 4)
    dearest, *_, second, first = ranking.losses.flip(0).tolist()
    curve = rankings.curves()[name]
    assert curve[19] == pytest.approx(0.2 * first, rel=1e-5)  # 3.8 of 4 units
    assert curve[14] == pytest.approx(first + 0.2 * second, rel=1e-5)
    assert curve[1] == pytest.approx(sum(ranking.losses.tolist()) - 0.2 * dearest, rel=1e-5)


def test_losses_that_are_not_nats_have_no_curves(tiny_bert):
    assert rank(collect(tiny_bert, BATCHES), Magnitude()).curves() == {}


def test_other_criteria_are_divided_evenly(tiny_bert):
    rankings = rank(collect(tiny_bert, BATCHES), Magnitude())
    costs = find_costs(tiny_bert, "flops", BATCHES, multiple=8)
    plain, even = (allocate(rankings, Budget("flops", 0.5, each), costs) for each in (None, "uniform"))
    assert plain == even
    with pytest.raises(InputError, match=r"'magnitude' does not give; pass `allocation=uniform` or `criterion=informa"):
        allocate(rankings, Budget("flops", 0.5, "nats"), costs)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_criterion_that_looks_above_knows_the_sizes_beforehand(tiny_bert, rounds):
    budget, settings = Budget("params", 0.7), Settings(rounds=rounds, repair=False)
    paired, plain = (
        prune(tiny_bert, BATCHES, budget=budget, criterion=c, settings=settings) for c in (Fan2021(), Magnitude())
    )
    assert paired.plan.counts == plain.plan.counts
    assert paired.report.pruned.parameters <= 0.7 * paired.report.dense.parameters
    with pytest.raises(InputError, match="'fan2021' does not give"):
        prune(tiny_bert, BATCHES, budget=Budget("params", 0.7, "nats"), criterion=Fan2021())


def test_costs_are_needed_and_of_the_same_sites(tiny_bert, rankings):
    with pytest.raises(InputError, match=r"pass find_costs\(model, 'flops', batches\)"):
        allocate(rankings, Budget("flops", 0.5))
    with pytest.raises(InputError, match="costs are of other sites"):
        allocate(
            rankings, Budget("flops", 0.9), find_costs(tiny_bert, "flops", BATCHES, structures=["ffn"], multiple=8)
        )


@pytest.mark.parametrize("refresh", ["round", "never"])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_compress_meets_a_budget_in_rounds(tiny_bert, refresh, rounds):
    budget = Budget("params", 0.6)
    result = prune(tiny_bert, BATCHES, budget=budget, settings=Settings(rounds=rounds, refresh=refresh))
    dense, small = result.report.dense.parameters, result.report.pruned.parameters
    step = max(3 * 8 * 33 + 8 * 32, 64 * (32 + 1 + 32))  # a head; and as many neurons as rounding could ask for
    assert 0.6 * dense - step < small <= 0.6 * dense
    assert [site.units for site in find_sites(result.model)] == [kept for kept, _ in result.plan.counts.values()]


def test_the_report_says_the_share_that_was_asked_for(tiny_bert):
    report = prune(tiny_bert, BATCHES, budget=Budget("flops", 0.5, "uniform")).report
    assert report.shape == (8, 12)
    assert 0.4 < report.pruned.flops / report.dense.flops <= 0.5


def test_what_compress_refuses(tiny_bert):
    with pytest.raises(InputError, match=r"more than one size was given \(`keep`, `budget`\)"):
        prune(tiny_bert, BATCHES, keep=0.5, budget=Budget("flops", 0.5))
    with pytest.raises(InputError, match=r"refresh 'site' ranks one site at a time.*pass refresh 'round'"):
        prune(tiny_bert, BATCHES, budget=Budget("flops", 0.5), settings=Settings(refresh="site"))
    with pytest.raises(InputError, match=r"`budget=flops=0\.01` cannot be met"):
        prune(tiny_bert, BATCHES, budget=Budget("flops", 0.01))


def test_a_pruned_model_can_be_given_a_budget(tiny_bert):
    once = prune(tiny_bert, BATCHES, budget=Budget("params", 0.8))
    twice = prune(once.model, BATCHES, budget=Budget("params", 0.8))
    assert twice.report.pruned.parameters <= 0.8 * once.report.pruned.parameters
    assert torch.isfinite(next(twice.model.parameters())).all()
    assert twice.plan.units == once.plan.units
