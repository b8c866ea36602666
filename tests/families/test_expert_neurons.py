"""Neurons inside experts: each expert is a feed-forward network of its own, with the tokens that read it."""

import copy
import json
from dataclasses import replace
from itertools import product

import pytest
import torch
import transformers
from test_contract import plan_for, relative
from torch.nn import functional
from zoo import answers, build, inputs, long_inputs

from infoprune.budgets.allocate import allocate, choose_counts
from infoprune.budgets.budget import Counts, Keep
from infoprune.budgets.costs import find_costs
from infoprune.budgets.counting import count_quantity
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.measuring.active import count_active_parameters
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import Plan
from infoprune.ranking.criteria import ChannelInformation, Magnitude, Random, Wanda
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.archive import load_statistics, save_statistics
from infoprune.statistics.calibration import warn_few_tokens
from infoprune.statistics.collect import collect
from infoprune.statistics.expert_neurons import neurons_of_expert
from infoprune.statistics.merge import merge_statistics
from infoprune.structure.experts import expert_reader
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan, outline

MODELS = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "gpt_oss")
LAYOUTS = ("mixtral", "deepseek_v2", "gpt_oss")  # one of each layout and way to weigh
EXPERTS = 4

pytestmark = pytest.mark.filterwarnings("ignore:.*calibration tokens")


@pytest.fixture(params=MODELS)
def model_type(request):
    return request.param


each_layout = pytest.mark.parametrize("model_type", LAYOUTS, indirect=True)


def sites_of(model):
    return find_sites(model, ["expert-neurons"])


def half(model, structure="expert-neurons"):
    return Counts({site.name: site.units // 2 for site in find_sites(model, [structure])})


def own_neurons(model, count, experts=range(EXPERTS), seed=0):
    """A plan that keeps other neurons in every expert."""
    generator = torch.Generator().manual_seed(seed)
    rows = {
        site.name: tuple(
            tuple(torch.randperm(site.units, generator=generator)[:count].sort().values.tolist()) for _ in experts
        )
        for site in sites_of(model)
    }
    units = {site.name: site.units for site in sites_of(model)}
    return Plan(model.config.model_type, units, dict.fromkeys(rows, tuple(range(count))), "random", 0, neurons=rows)


def with_experts(plan, model, kept):
    """The same plan, which also keeps some experts."""
    units = {site.name: site.units for site in find_sites(model, ["experts"])} | plan.units
    return Plan(plan.model_type, units, dict.fromkeys(units, kept) | plan.kept, "random", 0, neurons=plan.neurons)


def masked(model, plan):
    """What the dropped neurons say is read as zero."""
    model = copy.deepcopy(model)
    for site in sites_of(model):
        for expert, kept in enumerate(plan.neurons[site.name]):
            dropped = [unit for unit in range(site.units) if unit not in kept]
            expert_reader(model, site, expert)[:, dropped] = 0
    return model


def shuffled(model, seed=3):
    """The same function, with the neurons of every expert in another order; and these orders."""
    model, orders = copy.deepcopy(model), {}
    generator = torch.Generator().manual_seed(seed)
    for site in sites_of(model):
        for expert in range(EXPERTS):
            order = torch.randperm(site.units, generator=generator)
            orders[site.name, expert] = order
            for rows, axis in site.neurons.entries:
                entry = model.get_parameter(rows.module).data[expert]
                entry.copy_(entry.index_select(axis, rows.rows(order, site.units)))
    return model, orders


def test_slicing_is_masking(model_type):
    model, batches = build(model_type), inputs(model_type)
    plan = own_neurons(model, 7)
    small = apply_plan(model, plan)
    assert relative(answers(small, batches), answers(masked(model, plan), batches)) < 1e-12
    assert relative(answers(small, batches), answers(model, batches)) > 1e-6
    assert [site.units for site in sites_of(small)] == [7, 7]
    assert [site.units for site in find_sites(small)] == [site.units for site in find_sites(model)]


@each_layout
def test_experts_and_their_neurons_are_cut_together(model_type):
    model, batches, kept = build(model_type), inputs(model_type), (0, 2, 3)
    whole = own_neurons(model, 7)
    rows = {name: tuple(each[expert] for expert in kept) for name, each in whole.neurons.items()}
    plan = Plan(whole.model_type, whole.units, whole.kept, "random", 0, neurons=rows)
    together = apply_plan(model, with_experts(plan, model, kept))
    experts = apply_plan(model, plan_for(model, {site.name: kept for site in find_sites(model, ["experts"])}))
    first = apply_plan(experts, plan)
    assert torch.equal(answers(together, batches), answers(first, batches))
    other = apply_plan(
        apply_plan(model, whole), plan_for(model, {s.name: kept for s in find_sites(model, ["experts"])})
    )
    assert torch.equal(answers(together, batches), answers(other, batches))


def test_two_cuts_are_one():
    """Of neurons, of experts in between, and of neurons again; in the numbers of the first model."""
    model, batches = build("mixtral"), inputs("mixtral")
    small = apply_plan(model, own_neurons(model, 20))
    experts = {site.name: (1, 3) for site in find_sites(small, ["experts"])}
    small = apply_plan(small, plan_for(small, experts))
    small = apply_plan(small, own_neurons(small, 9, experts=range(2), seed=5))
    small = apply_plan(
        small, Plan("mixtral", {"layers.0.expert-neurons": 9}, {"layers.0.expert-neurons": (0, 4, 8)}, "random", 0)
    )
    plan = Plan.from_json(small.infoprune_plan.to_json())
    assert plan == small.infoprune_plan
    assert torch.equal(answers(apply_plan(model, plan), batches), answers(small, batches))
    assert len(plan.neurons["layers.0.expert-neurons"][0]) == 3


def test_neurons_are_what_lies_before_the_weights_that_read_them(model_type):
    """Also more of them than coordinates; and what they say, read by these weights, is the answer."""
    sizes = {"intermediate_size": 120, "moe_intermediate_size": 120}
    model = build(model_type, **sizes)
    x = torch.randn(5, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    site = sites_of(model)[1]
    experts = model.get_submodule(site.reader)
    for expert in range(EXPERTS):
        neurons = neurons_of_expert(model, site, x, expert)
        if model_type != "gpt_oss":
            gate, up = (x @ experts.gate_up_proj[expert].T).chunk(2, -1)
            torch.testing.assert_close(neurons, functional.silu(gate) * up)
        answer = neurons @ expert_reader(model, site, expert).T
        if model_type == "gpt_oss":
            answer = answer + experts.down_proj_bias[expert].detach()
        numbers = torch.full((5, 1), expert)
        torch.testing.assert_close(answer, experts(x, numbers, torch.ones(5, 1, dtype=torch.float64)).detach())


def test_neurons_that_nobody_reads_go_without_loss(model_type):
    """Other ones in every expert."""
    model, batches = build(model_type), inputs(model_type)
    plan = own_neurons(model, sites_of(model)[0].units // 2)
    silent = masked(model, plan)
    rankings = rank(collect(silent, batches, sites=sites_of(silent)), ChannelInformation())
    chosen = allocate(rankings, half(model))
    assert chosen.nats_lost == pytest.approx(0, abs=1e-12)
    assert sum(float(each.losses.sum()) for each in rankings.sites.values()) > 1e-3
    assert relative(answers(apply_plan(silent, chosen), batches), answers(silent, batches)) < 1e-12


@each_layout
def test_a_copy_of_a_neuron_is_made_up_for(model_type):
    """In every expert its last neurons say what others say, and their readers take over what they said."""
    model, batches = build(model_type, num_hidden_layers=1), inputs(model_type, ((30, 26, 30, 28) * 2,) * 2)
    (site,) = sites_of(model)
    model, _ = shuffled(model)
    first, last = torch.arange(site.units).chunk(2)
    for rows, axis in site.neurons.written:
        weight = model.get_parameter(rows.module).data
        source, copied = rows.rows(first, site.units), rows.rows(last, site.units)
        weight.index_copy_(1 + axis, copied, weight.index_select(1 + axis, source))
    model, _ = shuffled(model, seed=4)
    dense = answers(model, batches)
    statistics = collect(model, batches, sites=[site], shrinkage=1e-11)
    plan = allocate(rank(statistics, ChannelInformation()), half(model))
    assert relative(answers(apply_plan(model, plan, statistics), batches), dense) < 1e-5
    assert relative(answers(apply_plan(model, plan), batches), dense) > 1e-3


@each_layout
def test_the_order_of_neurons_does_not_matter(model_type):
    """The same neurons go, whatever their places in their experts are."""
    model, batches = build(model_type), inputs(model_type)
    other, orders = shuffled(model)
    assert relative(answers(other, batches), answers(model, batches)) < 1e-12
    plans = []
    for each in (model, other):
        statistics = collect(each, batches, sites=sites_of(each))
        plans.append(allocate(rank(statistics, ChannelInformation()), half(model)))
    for (name, expert), order in orders.items():
        found = order[list(plans[1].neurons[name][expert])]
        assert sorted(found.tolist()) == list(plans[0].neurons[name][expert])


def twins():
    """A model with one expert, which every token reads, and one with that expert as its feed-forward network."""
    same = {"rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}
    model = build("mixtral", num_local_experts=1, num_experts=1, num_experts_per_tok=1, **same)
    plain = build("mistral", **same)
    weights = dict(model.state_dict())
    for layer in range(2):
        path = f"model.layers.{layer}.mlp"
        gate, up = weights.pop(f"{path}.experts.gate_up_proj")[0].chunk(2)
        weights |= {f"{path}.gate_proj.weight": gate, f"{path}.up_proj.weight": up}
        weights[f"{path}.down_proj.weight"] = weights.pop(f"{path}.experts.down_proj")[0]
        weights.pop(f"{path}.gate.weight")
    plain.load_state_dict(weights)
    return model, plain


@pytest.mark.parametrize("criterion", [ChannelInformation(), Magnitude(), Wanda()], ids=lambda each: each.name)
def test_one_expert_is_a_feed_forward_network(criterion):
    model, plain = twins()
    batches = long_inputs("mixtral")
    plans, smaller = [], []
    for each, structure in ((model, "expert-neurons"), (plain, "ffn")):
        statistics = collect(each, batches, sites=find_sites(each, [structure]))
        rankings = rank(statistics, criterion)
        plans.append(allocate(rankings, half(each, structure)))
        small = apply_plan(each, plans[-1], statistics)
        smaller.append(answers(small, batches))
        small = repair(small, each, batches, statistics=statistics, ridge=0.1, producers=False)
        smaller.append(answers(small, batches))
    for layer in range(2):
        assert plans[0].neurons[f"layers.{layer}.expert-neurons"] == (plans[1].kept[f"layers.{layer}.ffn"],)
    assert plans[0].nats_lost == (None if plans[1].nats_lost is None else pytest.approx(plans[1].nats_lost, rel=1e-5))
    assert relative(smaller[0], smaller[2]) < 1e-5
    # the weights of long tokens are those of what a module reads, which is neurons here and the stream there
    assert relative(smaller[1], smaller[3]) < 0.02 * relative(smaller[0], smaller[1])


@pytest.mark.parametrize("model_type", ["qwen2_moe", "gpt_oss"], indirect=True)
def test_the_repair_comes_nearer(model_type):
    model, batches = build(model_type), inputs(model_type, ((30, 26, 30, 28) * 2,) * 2)
    dense = answers(model, batches)
    plan = own_neurons(model, sites_of(model)[0].units // 2)
    small = apply_plan(model, plan)
    before = (answers(small, batches) - dense).square().mean()
    assert (answers(repair(small, model, batches, ridge=1e-3), batches) - dense).square().mean() < 0.9 * before
    # an expert that no token reads stays as it is, and finite
    for site in find_sites(model, ["experts"]):
        model.get_parameter(site.routing.parameters[0]).data[2] = 0
    assert torch.isfinite(answers(repair(apply_plan(model, plan), model, batches), batches)).all()


def test_an_expert_that_nobody_reads_costs_nothing():
    model, batches = build("mixtral", num_experts_per_tok=1), inputs("mixtral")
    statistics = collect(model, batches, sites=sites_of(model))
    used = rank(statistics, ChannelInformation()).sites["layers.0.expert-neurons"]
    unread = [name for name, each in statistics.sites.items() if each.tokens.rows == 0]
    if not unread:  # read one expert alone
        for site in sites_of(model):
            model.get_parameter(site.routing.parameters[0]).data[0] = 0
            model.get_parameter(site.routing.parameters[0]).data[1:] *= 1e-3
        statistics = collect(model, batches, sites=sites_of(model))
    alone = [each for name, each in statistics.sites.items() if name.startswith("layers.0") and each.tokens.rows]
    ranking = rank(statistics, ChannelInformation()).sites["layers.0.expert-neurons"]
    expected = sum(ChannelInformation().rank_site(each, torch.Generator()).losses.sum() for each in alone)
    assert float(ranking.losses.sum()) == pytest.approx(float(expected))
    assert used.neurons.shape == ranking.neurons.shape == (EXPERTS, 40)


def test_layers_of_equal_sizes_open_in_transformers(model_type, tmp_path):
    model = build(model_type, torch.float32)
    small = apply_plan(model, own_neurons(model, 8))
    save(small, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    field = next(row for row in FAMILIES[model_type].sites if row.neurons).config
    if model_type == "deepseek_v2":  # whose field is also the size of its shared experts
        assert not field
        assert config["quantization_config"]["units"] == {site.name: 8 for site in sites_of(small)}
    else:
        assert config[field[0].name] == 8
        assert "quantization_config" not in config
    plain = getattr(transformers, type(model).__name__).from_pretrained(tmp_path / "out").eval()
    for back in (load(tmp_path / "out"), plain):
        assert relative(answers(back, inputs(model_type)), answers(small, inputs(model_type))) < 1e-5


@each_layout
def test_layers_may_keep_other_numbers(model_type, tmp_path):
    """Also with fewer experts."""
    model, batches = build(model_type, torch.float32), inputs(model_type)
    first, last = sites_of(model)
    experts = [site.name for site in find_sites(model, ["experts"])]
    plan = plan_for(model, {experts[0]: (0, 3)})
    small = apply_plan(apply_plan(model, plan), plan_for_neurons(model, {first.name: 8, last.name: 16}))
    save(small, tmp_path / "out")
    sizes = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["units"]
    assert sizes == {experts[0]: 2, first.name: 8, last.name: 16}
    assert torch.equal(answers(load(tmp_path / "out"), batches), answers(small, batches))


def plan_for_neurons(model, counts):
    units = {site.name: site.units for site in sites_of(model)}
    return Plan(model.config.model_type, units, {name: tuple(range(n)) for name, n in counts.items()}, "random", 0)


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
