"""Neurons inside experts: each expert is a feed-forward network of its own, with the tokens that read it."""

import json

import pytest
import torch
import transformers
from cut_experts import (
    EXPERTS,
    LAYOUTS,
    MODELS,
    half,
    masked,
    own_neurons,
    plan_for_neurons,
    shuffled,
    sites_of,
    with_experts,
)
from test_contract import plan_for, relative
from torch.nn import functional
from zoo import answers, build, inputs, long_inputs

from infoprune.budgets.allocate import allocate
from infoprune.checkpoint import load, save
from infoprune.families import FAMILIES
from infoprune.plan import Plan
from infoprune.ranking.criteria import ChannelInformation, Magnitude, Wanda
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.expert_neurons import neurons_of_expert
from infoprune.structure.experts import expert_reader
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

pytestmark = pytest.mark.filterwarnings("ignore:.*calibration tokens")


@pytest.fixture(params=MODELS)
def model_type(request):
    return request.param


each_layout = pytest.mark.parametrize("model_type", LAYOUTS, indirect=True)


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
