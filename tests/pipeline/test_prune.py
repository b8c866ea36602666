import warnings
from dataclasses import replace

import pytest
import torch
from tiny import divergence, logits_of, make_batches
from torch.testing import assert_close

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget, Keep
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import plan_of
from infoprune.ranking.criteria import ChannelInformation, Random, criterion_named
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.ranking.scores import Magnitude
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.training.distill import Distillation, distill

BATCHES = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 4)
CRITERIA = (ChannelInformation(), ChannelInformation(sigma=0.3), Fan2021(), Magnitude(), Random())


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: f"{c.name}-{getattr(c, 'sigma', '')}")
@pytest.mark.parametrize("rounds", [1, 2])
def test_the_same_seed_gives_the_same_model(tiny_bert, criterion, rounds):
    before = state(tiny_bert)
    first, again = (
        prune(tiny_bert, BATCHES, keep=0.5, criterion=criterion, settings=Settings(rounds=rounds), seed=3)
        for _ in range(2)
    )
    assert first.plan == again.plan == plan_of(first.model)
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny_bert.state_dict().items())
    assert first.plan.counts == {site.name: (site.units // 2, site.units) for site in find_sites(tiny_bert)}
    assert [site.units for site in find_sites(first.model)] == [2, 32, 2, 32]
    assert torch.isfinite(logits_of(first.model, BATCHES)).all()


def test_the_seed_of_random_counts(tiny_bert):
    plans = [prune(tiny_bert, BATCHES, criterion=Random(), seed=seed).plan for seed in (0, 1)]
    assert plans[0].kept != plans[1].kept


@pytest.mark.parametrize("refresh", ["site", "round"])
def test_random_draws_every_site_anew(tiny_bert, refresh):
    kept = prune(
        tiny_bert, BATCHES, keep=0.5, criterion=Random(), settings=Settings(refresh=refresh, repair=False)
    ).plan.kept
    assert kept["layers.0.ffn"] != kept["layers.1.ffn"]


def test_nothing_to_calibrate_on_is_said_before_anything_else(tiny_bert, recwarn):
    with pytest.raises(InputError, match="no calibration inputs, expected at least one batch"):
        prune(tiny_bert, [])
    assert not recwarn.list


@pytest.mark.parametrize("refresh", ["site", "round", "never"])
@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("repair", [True, False])
def test_refresh_and_rounds(tiny_bert, refresh, rounds, repair):
    settings = Settings(rounds=rounds, refresh=refresh, repair=repair)
    result = prune(tiny_bert, BATCHES, keep=0.25, settings=settings)
    assert result.plan.counts == {site.name: (site.units // 4, site.units) for site in find_sites(tiny_bert)}
    assert result.plan.nats_lost > 0
    assert torch.isfinite(logits_of(result.model, BATCHES)).all()


@pytest.mark.parametrize("refresh", ["site", "round", "never"])
def test_the_report_has_the_curves_of_the_dense_model(tiny_bert, refresh):
    report = prune(tiny_bert, BATCHES, keep=0.5, settings=Settings(rounds=2, refresh=refresh, repair=False)).report
    assert report.curves.keys() == report.kept.keys()
    expected = rank(collect(tiny_bert, BATCHES), ChannelInformation()).curves()
    top = find_sites(tiny_bert)[-1].name
    assert report.curves[top] == expected[top]
    assert (report.curves == expected) == (refresh != "site")


def test_a_site_that_was_cut_before_has_no_curve(tiny_bert):
    first = prune(tiny_bert, BATCHES, keep=0.5, structures=["heads"]).model
    again = prune(first, BATCHES, keep=0.5).report
    assert {name.rpartition(".")[2] for name in again.curves} == {"ffn"}
    assert {name.rpartition(".")[2] for name in again.kept} == {"ffn", "heads"}


def test_refreshing_by_site_looks_through_what_was_cut_above(tiny_bert):
    by_site, by_round = (
        prune(tiny_bert, BATCHES, keep=0.5, settings=Settings(refresh=r)).plan for r in ("site", "round")
    )
    top = find_sites(tiny_bert)[-1].name
    assert by_site.kept[top] == by_round.kept[top]  # nothing is above it
    assert by_site.kept != by_round.kept


def test_information_beats_chance_at_what_it_measures(tiny_bert64):
    dense, plain = logits_of(tiny_bert64, BATCHES), Settings(repair=False)
    chosen = prune(tiny_bert64, BATCHES, keep=0.75, settings=plain)
    kl = divergence(dense, logits_of(chosen.model, BATCHES))
    for seed in range(5):
        other = prune(tiny_bert64, BATCHES, keep=0.75, criterion=Random(), settings=plain, seed=seed)
        assert kl < divergence(dense, logits_of(other.model, BATCHES))


def test_report(tiny_bert):
    result = prune(tiny_bert, BATCHES, keep=0.5, structures=["ffn"], seed=7)
    report, removed = result.report, 2 * 32 * (32 + 1 + 32)  # of 2 layers, 32 rows with biases and 32 columns
    assert report.dense.parameters == sum(p.numel() for p in tiny_bert.parameters())
    assert report.pruned.parameters == report.dense.parameters - removed
    assert report.pruned.bytes == report.dense.bytes - 4 * removed
    inputs, tokens = report.shape
    assert report.dense.flops - report.pruned.flops == 2 * inputs * tokens * 2 * 2 * 32 * 32
    assert report.kept == {"layers.0.ffn": (32, 64), "layers.1.ffn": (32, 64)}
    assert (report.criterion, report.seed, report.samples) == ("information", 7, 32)
    assert (report.family, report.task, report.loads_in) == ("bert", "classification", "transformers")
    assert report.nats_lost == result.plan.nats_lost
    parts = report.seconds["collect"] + report.seconds["rank"] + report.seconds["repair"]
    assert 0 < parts <= report.seconds["total"]


def test_keeping_everything_changes_next_to_nothing(tiny_bert64):
    result = prune(tiny_bert64, BATCHES, keep=1.0)
    assert result.plan.nats_lost == 0
    assert_close(logits_of(result.model, BATCHES), logits_of(tiny_bert64, BATCHES), rtol=0, atol=1e-6)


def test_a_pruned_model_can_be_pruned_again(tiny_bert):
    once = prune(tiny_bert, BATCHES, keep=0.5)
    twice = prune(once.model, BATCHES, keep=0.5)
    assert twice.plan.counts == {site.name: (site.units // 4, site.units) for site in find_sites(tiny_bert)}
    assert twice.plan == plan_of(twice.model)
    assert all(set(twice.plan.kept[name]) < set(once.plan.kept[name]) for name in once.plan.kept)


@pytest.mark.parametrize("refresh", ["site", "round", "never"])
@pytest.mark.parametrize("repaired", [True, False])
def test_rounds_with_training_between(tiny_bert, refresh, repaired):
    lessons, how = make_batches(((9, 7, 12, 8),) * 12, seed=1), Distillation(epochs=2, bf16=False)
    settings = Settings(rounds=2, refresh=refresh, repair=repaired)
    stages = []
    first, again = (
        prune(
            tiny_bert,
            BATCHES,
            keep=0.25,
            settings=settings,
            distill=how,
            distill_batches=lessons,
            seed=2,
            progress=lambda stage, done, of: stages.append((stage, of)),
        )
        for _ in range(2)
    )
    assert first.plan == again.plan == plan_of(first.model)
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert first.plan.counts == {site.name: (site.units // 4, site.units) for site in find_sites(tiny_bert)}
    assert {of for stage, of in stages if stage == "distill"} == {11}, "each round has half of the epochs"
    assert first.report.seconds["distill"] > 0


def test_a_budget_is_met_with_training_between_the_rounds(tiny_bert):
    lessons, how = make_batches(((9, 7, 12, 8),) * 12, seed=1), Distillation(epochs=2, bf16=False)
    budget, settings = Budget("params", 0.6), Settings(rounds=2)
    report = prune(tiny_bert, BATCHES, budget=budget, settings=settings, distill=how, distill_batches=lessons).report
    assert 0.5 < report.pruned.parameters / report.dense.parameters <= 0.6


def test_the_second_round_cuts_what_the_first_has_trained(tiny_bert):
    lessons = make_batches(((9, 7, 12, 8),) * 12, seed=1)
    how = Distillation(epochs=1, learning_rate=2e-3, bf16=False)
    alone = Settings(augmentations=0)
    first = prune(tiny_bert, BATCHES, keep=0.5, settings=alone, distill=how, distill_batches=lessons).model
    statistics = collect(first, BATCHES)
    cut = apply_plan(first, allocate(rank(statistics, ChannelInformation()), Keep(0.5)), statistics)
    expected = distill(repair(cut, tiny_bert, BATCHES, statistics=statistics), tiny_bert, lessons, how=how).model
    both = replace(how, epochs=2)
    result = prune(
        tiny_bert, BATCHES, keep=0.25, settings=replace(alone, rounds=2), distill=both, distill_batches=lessons
    )
    assert result.plan == plan_of(expected)
    assert all(map(torch.equal, result.model.parameters(), expected.parameters()))


def test_no_head_left(tiny_bert):
    with pytest.raises(InputError, match=r"`keep=0\.1` leaves no head of 4 in layers\.0\.heads.*pass `keep=0\.125`"):
        prune(tiny_bert, BATCHES, keep=0.1)
    assert prune(tiny_bert, BATCHES, keep=0.125).plan.counts["layers.0.heads"] == (1, 4)


@pytest.mark.parametrize("keep", [0, -0.5, 1.5, float("nan")])
def test_keep_out_of_range(tiny_bert, keep):
    with pytest.raises(InputError, match="expected a number above 0 and at most 1"):
        prune(tiny_bert, BATCHES, keep=keep)


def test_settings_out_of_range():
    with pytest.raises(InputError, match="`rounds` is 0"):
        Settings(rounds=0)
    with pytest.raises(InputError, match=r"information, fan2021, magnitude, .*random"):
        criterion_named("taste")


def test_few_tokens_are_warned_of(tiny_bert):
    few = make_batches(((5, 9), (7,)))
    with pytest.warns(UserWarning, match=r"21 calibration tokens for the 64 inputs of .*\.output\.dense"):
        prune(tiny_bert, few)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune(tiny_bert, BATCHES)


def still(model):
    for layer in model.bert.encoder.layer:
        layer.intermediate.dense.weight.data.zero_()  # constant neurons


def dead(model):
    for layer in model.bert.encoder.layer:
        layer.intermediate.dense.weight.data.zero_()
        layer.intermediate.dense.bias.data.zero_()  # gelu(0) = 0
        layer.attention.self.value.weight.data.zero_()
        layer.attention.self.value.bias.data.zero_()


def unread(model):
    for layer in model.bert.encoder.layer:
        layer.output.dense.weight.data.zero_()
        layer.attention.output.dense.weight.data.zero_()


def half_dead(model):
    model.bert.encoder.layer[0].intermediate.dense.weight.data[:40] = 0
    model.bert.encoder.layer[0].intermediate.dense.bias.data[:40] = 0


def sure(model):
    model.classifier.bias.data += torch.tensor([5000.0, 0.0])  # no demand anywhere


def same(model):
    model.classifier.weight.data.zero_()


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
@pytest.mark.parametrize("change", [still, dead, unread, half_dead, sure, same])
@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: f"{c.name}-{getattr(c, 'sigma', '')}")
def test_degenerate_models(tiny_bert, change, criterion):
    change(tiny_bert)
    result = prune(tiny_bert, BATCHES, keep=0.5, criterion=criterion)
    assert torch.isfinite(logits_of(result.model, BATCHES)).all()
    assert result.plan.nats_lost is None or 0 <= result.plan.nats_lost < float("inf")
    if change is half_dead and criterion.name == "information":
        assert sum(unit >= 40 for unit in result.plan.kept["layers.0.ffn"]) == 24  # the living stay


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
@pytest.mark.parametrize("lengths", [((1,),), ((5,),), ((1, 1, 1),), ((2,), (2,))], ids=str)
@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: f"{c.name}-{getattr(c, 'sigma', '')}")
def test_next_to_no_inputs(tiny_bert, lengths, criterion):
    batches = make_batches(lengths)
    result = prune(tiny_bert, batches, criterion=criterion)
    assert divergence(logits_of(tiny_bert, batches), logits_of(result.model, batches)) < 0.5
    assert torch.isfinite(logits_of(result.model, BATCHES)).all()
