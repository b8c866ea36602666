"""Neurons inside experts with statistics on disk, budgets, rounds, and what is refused."""

import copy
import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from cut_experts import (
    EXPERTS,
    own_neurons,
    sites_of,
    with_experts,
)
from test_contract import relative
from zoo import answers, build, inputs

from infoprune.budgets.allocate import choose_counts
from infoprune.budgets.budget import Keep
from infoprune.budgets.costs import find_costs
from infoprune.budgets.counting import count_quantity
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.measuring.active import count_active_parameters
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import Plan
from infoprune.ranking.criteria import ChannelInformation, Random
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.archive import load_statistics, save_statistics
from infoprune.statistics.calibration import warn_few_tokens
from infoprune.statistics.collect import collect
from infoprune.statistics.expert_neurons import neurons_of_expert
from infoprune.statistics.merge import merge_statistics
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan, outline

pytestmark = pytest.mark.filterwarnings("ignore:.*calibration tokens")


def test_statistics_are_stored_merged_and_collected_layer_by_layer(tmp_path):
    model, batches = build("qwen3_moe"), inputs("qwen3_moe")
    sites = sites_of(model)
    whole = collect(model, batches, sites=sites)
    assert len(whole.sites) == 2 * EXPERTS
    save_statistics(whole, tmp_path / "statistics")
    merged = merge_statistics(*(collect(model, [batch], sites=sites) for batch in batches))
    with pytest.raises(InputError, match=r"the statistics of layer 1 take \d+ MiB, and `memory` leaves 1 for them"):
        collect(model, batches, sites=sites, memory=1 << 19)
    small = collect(model, batches, sites=sites, memory=750_000)
    assert not isinstance(small.sites, dict)  # they lie on disk
    first = rank(whole, ChannelInformation()).sites
    for other in (merged, load_statistics(tmp_path / "statistics"), small):
        again = rank(other, ChannelInformation()).sites
        for name, ranking in first.items():
            assert torch.equal(again[name].neurons, ranking.neurons)
            torch.testing.assert_close(again[name].losses, ranking.losses, rtol=1e-4, atol=0)


def test_a_budget_counts_what_a_token_reads():
    """A token does less, and the parameters that it reads are fewer."""
    model, batches = build("mixtral", torch.float32), inputs("mixtral")
    settings = Settings(repair=False)
    result = prune(model, batches, structures=["expert-neurons"], budget="flops=0.75", settings=settings)
    report = result.report
    assert 0.6 < report.pruned.flops / report.dense.flops <= 0.75
    assert report.pruned.active_parameters == count_active_parameters(result.model)
    cut = report.dense.parameters - report.pruned.parameters
    assert report.dense.active_parameters - report.pruned.active_parameters == cut / 2  # two of four experts
    default = prune(model, batches, structures=["heads", "expert-neurons"], settings=settings).report
    assert default.pruned.flops <= 0.5 * default.dense.flops
    kept = prune(model, batches, structures=["experts", "expert-neurons"], keep=0.5, settings=settings).report.kept
    assert kept["layers.1.experts"] == (2, 4)
    assert kept["layers.1.expert-neurons"] == (24, 40)  # kernels need multiples of 8


def test_the_default_implementation_runs_what_is_cut():
    """It multiplies groups of tokens with their experts, and takes round numbers of neurons alone."""
    model, batches = build("mixtral", torch.float32), inputs("mixtral")
    model.set_experts_implementation("grouped_mm")
    sites = sites_of(model)
    x = torch.randn(5, 48)
    grouped = neurons_of_expert(model, sites[0], x, 1)
    model.set_experts_implementation("eager")
    torch.testing.assert_close(grouped, neurons_of_expert(model, sites[0], x, 1))
    model.set_experts_implementation("grouped_mm")
    for size, rounds in (({"budget": "flops=0.8"}, 1), ({"keep": 0.3}, 2)):
        settings = Settings(rounds=rounds, repair=False)
        result = prune(model, batches, structures=["expert-neurons"], **size, settings=settings)
        with torch.no_grad():
            assert torch.isfinite(result.model(**batches[0]).logits).all()
        assert {site.units % 8 for site in sites_of(result.model)} == {0}
    assert Keep(0.5).count(sites[0]) == 24
    assert Keep(0.01).count(replace(sites[0], units=100)) == 8


@pytest.mark.parametrize("quantity", ["params", "bytes", "flops"])
def test_a_budget_divides_experts_and_their_neurons(quantity):
    """Whose costs are a product, but for the router and for experts that no token reads."""
    model, batches = build("mixtral", torch.float32, num_experts=8, num_local_experts=8), inputs("mixtral")
    both = ["experts", "expert-neurons"]
    costs = find_costs(model, quantity, batches, structures=both)
    for experts, neurons in ((8, 40), (8, 8), (1, 8), (1, 40), (3, 16)):
        counts = {name: neurons if name.endswith("neurons") else experts for name in costs.sites}
        assert costs.of(counts) == count_quantity(outline(model, counts), quantity, costs.shape)
    # of all sizes within the budget none loses less
    rankings = rank(collect(model, batches, sites=find_sites(model, both)), ChannelInformation())
    limit = 0.75 * costs.dense
    found = choose_counts(rankings, costs, limit)
    assert costs.of(found) <= limit
    lost = {name: ranking.lost.tolist() for name, ranking in rankings.sites.items()}
    every = (
        dict(zip(costs.sites, each, strict=True)) for each in product(*(costs.sizes[name] for name in costs.sites))
    )
    least = min(sum(lost[name][n] for name, n in each.items()) for each in every if costs.of(each) <= limit)
    assert sum(lost[name][n] for name, n in found.items()) < 1.2 * least


def test_rounds_follow_one_another():
    """Also where the first ranking serves all rounds."""
    model, batches = build("mixtral", torch.float32), inputs("mixtral")
    for rounds, refresh in ((2, "round"), (2, "never"), (1, "site")):
        settings = Settings(rounds=rounds, refresh=refresh, repair=False)
        both = ["experts", "expert-neurons"]
        result = prune(model, batches, structures=both, keep=0.5, settings=settings)
        rows = result.plan.neurons["layers.0.expert-neurons"]
        assert [len(row) for row in rows] == [24, 24]
        without = apply_plan(model, result.plan)
        assert [site.units for site in sites_of(without)] == [site.units for site in sites_of(result.model)]


def test_few_tokens_are_those_of_an_expert():
    model, batches = build("mixtral"), inputs("mixtral")
    with pytest.warns(UserWarning, match=r"^20 calibration tokens for the 40 inputs of model.layers.0.mlp.experts,"):
        warn_few_tokens(sites_of(model), batches)


def test_what_does_not_fit_is_refused():
    model, batches = build("mixtral", torch.float32), inputs("mixtral")
    names = ["expert-neurons"]
    for criterion in ("taylor", "kwon", "fan2021"):
        with pytest.raises(
            InputError, match=rf"'{criterion}' has no score for layers.0.expert-neurons.*information, mag"
        ):
            prune(model, batches, structures=names, criterion=criterion, keep=0.5)
    with pytest.raises(InputError, match=r"'reap' scores experts, but layers.0.expert-neurons has expert-neurons"):
        prune(model, batches, structures=names, criterion="reap", keep=0.5)
    with pytest.raises(InputError, match=r"latency was given for experts and expert-neurons.*`budget=flops=0.8`"):
        prune(model, batches, structures=["experts", "expert-neurons"], budget="latency=0.8")
    with pytest.raises(InputError, match=r"`structures` has ffn, but no layer of this qwen3_moe has such units; leave"):
        find_sites(build("qwen3_moe"), ["heads", "ffn"])
    plan = own_neurons(model, 7, experts=range(3))
    with pytest.raises(InputError, match=r"neurons of 3 experts in layers.0.expert-neurons, expected those of 4"):
        apply_plan(model, plan)
    rows = own_neurons(model, 7).neurons
    for name, row in (("heads", (0,)), ("layers.0.expert-neurons", tuple(range(1, 7)))):
        with pytest.raises(InputError, match="plan: 'neurons'"):
            Plan("mixtral", {**plan.units}, {**plan.kept}, "random", 0, neurons={name: (row,) * EXPERTS})
    with pytest.raises(InputError, match="of 4 experts, expected those of all that stay"):
        with_experts(Plan("mixtral", plan.units, plan.kept, "random", 0, neurons=rows), model, (0, 1))
    text = Plan("mixtral", plan.units, plan.kept, "random", 0, neurons=rows).to_json()
    for damaged in ([], {"layers.0.expert-neurons": 3}, {"layers.0.expert-neurons": [[0, "1"]]}):
        with pytest.raises(InputError, match="'neurons' must hold lists of lists of integers"):
            Plan.from_json(json.dumps(json.loads(text) | {"neurons": damaged}))
    other = collect(build("mixtral", seed=1), batches, sites=sites_of(model))
    with pytest.raises(InputError, match=r"the statistics are not of layers.0.expert-neurons.0"):
        apply_plan(build("mixtral"), own_neurons(model, 7), other)
    assert sorted(rank(other, Random()).sites["layers.0.expert-neurons"].neurons[2].tolist()) == list(range(40))


@pytest.mark.parametrize(
    ("model_type", "settings", "reader"),
    [
        ("qwen2_moe", {"mlp_only_layers": [0]}, "mlp.shared_expert.down_proj"),
        ("deepseek_v2", {"first_k_dense_replace": 1}, "mlp.shared_experts.down_proj"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, None),
    ],
)
def test_what_every_token_reads_is_an_ordinary_network(model_type, settings, reader, tmp_path):
    """Layers without experts, and shared experts, on request."""
    model, batches = build(model_type, torch.float64, **settings), inputs(model_type)
    sites = find_sites(model, ["ffn"])
    assert [site.reader for site in sites][1:] == ([f"model.layers.1.{reader}"] if reader else [])
    assert "ffn" not in {site.structure for site in find_sites(model)}
    units, kept = {site.name: site.units for site in sites}, {site.name: (0, 3, 5) for site in sites}
    small = apply_plan(model, Plan(model_type, units, kept, "random", 0))
    by_hand = copy.deepcopy(model)
    for site in sites:
        dropped = [unit for unit in range(site.units) if unit not in (0, 3, 5)]
        by_hand.get_submodule(site.reader).weight.data[:, dropped] = 0
    assert relative(answers(small, batches), answers(by_hand, batches)) < 1e-12
    dense = answers(model, batches)
    repaired = repair(small, model, batches, ridge=1e-3)
    assert (answers(repaired, batches) - dense).square().mean() < (answers(small, batches) - dense).square().mean()
    save(small, tmp_path / "out")
    assert torch.equal(answers(load(tmp_path / "out"), batches), answers(small, batches))
    assert ("quantization_config" in json.loads((tmp_path / "out" / "config.json").read_text())) == (
        model_type == "deepseek_v2"  # whose shared experts have no field of their own
    )
    ranked = rank(collect(model, batches, sites=find_sites(model, ["ffn", "expert-neurons"])), ChannelInformation())
    assert [name for name in ranked.sites if name.endswith("ffn")] == [site.name for site in sites]
