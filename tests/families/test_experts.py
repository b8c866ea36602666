"""Models of experts: what a token reads, what the loss of an expert is, and what is left after it is gone."""

import json
import math

import pytest
import torch
import transformers
from test_contract import plan_for, relative
from torch.nn import functional
from zoo import answers, build, inputs, long_inputs

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.measuring.active import count_active_parameters
from infoprune.pipeline.prune import prune
from infoprune.ranking.criteria import ChannelInformation, Frequency, Magnitude, Random, Reap, Wanda
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.serving.export import export
from infoprune.statistics.archive import load_statistics, save_statistics
from infoprune.statistics.collect import collect
from infoprune.statistics.merge import merge_statistics
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

MODELS = ("mixtral", "qwen2_moe", "deepseek_v2", "gpt_oss")  # one of each layout and way to weigh
NORMALISED = {"mixtral", "gpt_oss"}  # those whose config does not say

pytestmark = pytest.mark.filterwarnings("ignore:.*calibration tokens")


@pytest.fixture(params=MODELS)
def model_type(request):
    return request.param


def sites_of(model):
    return find_sites(model, ["experts"])


def test_all_families_of_experts_are_of_these_layouts():
    rows = {name: row for name, family in FAMILIES.items() for row in family.sites if row.experts}
    assert {row.experts for row in rows.values()} == {rows[name].experts for name in MODELS}


def block_by_hand(model, layer, x, kept):
    """What the experts of a layer give in sum, token by token, written out for every layout of the weights."""
    block = model.model.layers[layer].mlp
    router = block.router if model.config.model_type == "gpt_oss" else block.gate
    experts, found = block.experts, []
    normalised = model.config.model_type in NORMALISED or getattr(router, "norm_topk_prob", False)
    factor = getattr(router, "routed_scaling_factor", 1.0)
    for token in x:
        logits = functional.linear(token, router.weight, getattr(router, "bias", None))[kept]
        weights = logits.exp() / logits.exp().sum()
        chosen = weights.argsort(descending=True)[: model.config.num_experts_per_tok]
        if normalised:
            weights = weights / weights[chosen].sum()
        found.append(sum(factor * weights[i] * expert_by_hand(experts, token, kept[i]) for i in chosen))
    return torch.stack(found)


def expert_by_hand(experts, x, number):
    if not hasattr(experts, "gate_up_proj_bias"):
        gate, up = (experts.gate_up_proj[number] @ x).chunk(2)
        return experts.down_proj[number] @ (functional.silu(gate) * up)
    both = x @ experts.gate_up_proj[number] + experts.gate_up_proj_bias[number]
    gate, up = both[::2].clamp(max=experts.limit), both[1::2].clamp(-experts.limit, experts.limit)
    hidden = (up + 1) * gate * torch.sigmoid(experts.alpha * gate)
    return hidden @ experts.down_proj[number] + experts.down_proj_bias[number]


def blocks(model, batches):
    """Inputs and outputs of the experts of every layer, and the gradient at the outputs of a function of the logits."""
    seen = {site.name: [] for site in sites_of(model)}

    def record(name):
        def hook(_, given, output):
            output.retain_grad()
            seen[name].append((given[0].detach(), output))

        return hook

    handles = [model.get_submodule(site.reader).register_forward_hook(record(site.name)) for site in sites_of(model)]
    for batch in batches:
        model(**batch).logits.square().sum().backward()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    return seen


@torch.no_grad()
def test_the_block_after_a_removal_is_what_the_others_give(model_type):
    model, kept = build(model_type), [0, 2, 3]
    plan = plan_for(model, {site.name: tuple(kept) for site in sites_of(model)})
    small = apply_plan(model, plan)
    x = torch.randn(7, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for layer, (before, after) in enumerate(zip(sites_of(model), sites_of(small), strict=True)):
        path, router = after.reader, small.get_submodule(after.routing.router)
        _, weights, numbers = router(x)
        found = small.get_submodule(path)(x, numbers, weights)
        assert relative(found, block_by_hand(model, layer, x, kept)) < 1e-5  # the router's weights are float32
        assert (before.units, after.units) == (4, 3)


def test_the_loss_of_a_set_is_the_quadratic_form(model_type):
    """Half of the squared products of the gradients with the change of the block, computed token by token."""
    model, batches = build(model_type), inputs(model_type)
    statistics = collect(model, batches, sites=sites_of(model), seed=3)
    for layer, site in enumerate(sites_of(model)):
        routes = statistics.sites[site.name].routes
        removal = ChannelInformation().rank_experts(statistics.sites[site.name], torch.Generator())
        order, losses = removal.order.tolist(), removal.losses.cumsum(0).tolist()
        for gone in (1, 2):
            kept = sorted(set(range(4)) - set(order[:gone]))
            expected = loss_by_hand(model, layer, site, batches, routes, kept)
            assert losses[gone - 1] == pytest.approx(expected, rel=1e-3)
            # greedy: no other next expert would have been cheaper
            for other in set(range(4)) - set(order[: gone - 1]):
                rest = sorted(set(range(4)) - set(order[: gone - 1]) - {other})
                assert loss_by_hand(model, layer, site, batches, routes, rest) > (1 - 1e-3) * expected


@torch.no_grad()
def loss_by_hand(model, layer, site, batches, routes, kept):
    """The gradients are found again from their products with all experts, whose answers span them."""
    xs = []
    handle = model.get_submodule(site.reader).register_forward_pre_hook(lambda _, given: xs.append(given[0]))
    for batch in batches:
        model(**batch)
    handle.remove()
    masks = torch.cat([batch["attention_mask"].flatten().bool() for batch in batches])
    x = torch.cat(xs)[masks]
    change = block_by_hand(model, layer, x, kept) - block_by_hand(model, layer, x, [0, 1, 2, 3])
    experts = model.get_submodule(site.reader)
    total = 0.0
    for token, step, products in zip(x, change, routes.products.double(), strict=True):
        spanned = torch.stack([expert_by_hand(experts, token, number) for number in range(4)])
        shares = torch.linalg.lstsq(spanned.T, step[:, None]).solution[:, 0]  # the change is a mixture of the answers
        total += float((products @ shares).square().sum()) / 2
    return total


def test_predicted_losses_are_those_of_a_small_change():
    """Where an expert hardly differs from the one that takes over, the loss is the KL divergence."""
    model = build("mixtral", num_experts_per_tok=1)
    for site in sites_of(model):
        for name in site.routing.parameters[1:]:
            weight = model.get_parameter(name).data
            weight[1:] = weight[0] + 0.05 * weight[1:]
    batches = long_inputs("mixtral")
    statistics = collect(model, batches, sites=sites_of(model))
    dense = answers(model, batches).log_softmax(-1)
    (first, *_) = rank(statistics, ChannelInformation()).sites.values()
    plan = plan_for(model, {first.site.name: tuple(sorted(first.order.tolist()[1:]))})
    small = answers(apply_plan(model, plan), batches).log_softmax(-1)
    kl = float(functional.kl_div(small, dense, log_target=True, reduction="sum")) / statistics.inputs
    assert float(first.losses[0]) == pytest.approx(kl, rel=0.25)  # gradients are sampled, tokens taken for independent


def test_an_expert_that_nobody_reads_costs_nothing():
    model = build("mixtral")
    for site in sites_of(model):
        router = model.get_parameter(site.routing.parameters[0]).data
        router[2] = 0.0
        router[[0, 1, 3]] = torch.randn(3, 48, dtype=torch.float64)
    batches = inputs("mixtral")
    statistics = collect(model, batches, sites=sites_of(model))
    for each in statistics.sites.values():
        each.routes.logits[:, 2] = each.routes.logits.min() - 30  # as if the router never chose it
        removal = ChannelInformation().rank_experts(each, torch.Generator())
        assert removal.order[0] == 2
        assert float(removal.losses[0]) < 1e-9 * float(removal.losses.sum())


def test_rivals_are_what_their_sources_say(model_type):
    model, batches = build(model_type), inputs(model_type)
    statistics = collect(model, batches, sites=sites_of(model))
    masks = torch.cat([batch["attention_mask"].flatten().bool() for batch in batches])
    for site in sites_of(model):
        given = []
        handle = model.get_submodule(site.reader).register_forward_pre_hook(lambda _, each: given.append(each))  # noqa: B023
        with torch.no_grad():
            for batch in batches:
                model(**batch)
        handle.remove()
        x, numbers, weights = (torch.cat(each)[masks] for each in zip(*given, strict=True))
        sums, counts = [0.0] * 4, [0] * 4
        with torch.no_grad():
            for token, chosen, weight in zip(x, numbers.tolist(), weights.tolist(), strict=True):
                for expert, share in zip(chosen, weight, strict=True):
                    answer = expert_by_hand(model.get_submodule(site.reader), token, expert)
                    sums[expert] += share * float(answer.norm())
                    counts[expert] += 1
        each, generator = statistics.sites[site.name], torch.Generator().manual_seed(0)
        reap = Reap().rank_experts(each, generator)
        means = [total / max(count, 1) for total, count in zip(sums, counts, strict=True)]
        assert reap.order.tolist() == sorted(range(4), key=means.__getitem__)
        assert reap.losses.tolist() == pytest.approx(sorted(means), rel=1e-4)
        assert Frequency().rank_experts(each, generator).losses.tolist() == sorted(counts)
        assert sorted(Random().rank_experts(each, generator).order.tolist()) == [0, 1, 2, 3]
        own = [name for name in site.routing.parameters if name.startswith(site.reader)]
        norms = sum(model.get_parameter(name).detach().flatten(1).square().sum(1) for name in own)
        torch.testing.assert_close(Magnitude().rank_experts(each, generator).losses, norms.sort().values)


def test_statistics_are_stored_and_merged(tmp_path):
    model, batches = build("qwen3_moe"), inputs("qwen3_moe")
    whole = collect(model, batches)
    parts = [collect(model, [batch]) for batch in batches]
    merged = merge_statistics(*parts)
    save_statistics(whole, tmp_path / "statistics")
    again = load_statistics(tmp_path / "statistics")
    for name, each in whole.sites.items():
        if each.routes is None:
            continue
        for other in (merged.sites[name].routes, again.sites[name].routes):
            for field in ("logits", "products", "lengths", "counts"):
                torch.testing.assert_close(getattr(other, field), getattr(each.routes, field))
    assert rank(again, ChannelInformation()).sites.keys() == whole.sites.keys()


def test_layers_may_keep_other_numbers(model_type, tmp_path):
    """Also fewer than a token read before: then it reads all of them."""
    model = build(model_type, torch.float32)
    first, last = sites_of(model)
    small = apply_plan(model, plan_for(model, {first.name: (3,), last.name: (0, 1, 3)}))
    assert [site.routing.chosen for site in sites_of(small)] == [1, 2]
    save(small, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["units"] == {first.name: 1, last.name: 3}
    expected = answers(small, inputs(model_type))
    plain = getattr(transformers, type(model).__name__).from_pretrained(tmp_path / "out")
    for back in (load(tmp_path / "out"), plain):
        assert torch.equal(answers(back, inputs(model_type)), expected)
    both = apply_plan(model, plan_for(model, {first.name: (3,), last.name: (1,)}))
    assert both.config.num_experts_per_tok == 1
    assert "quantization_config" not in both.config.to_dict()


def test_active_parameters_are_those_of_a_model_with_as_many_experts(model_type):
    model = build(model_type)
    small = build(model_type, num_experts=2, num_local_experts=2, n_routed_experts=2)
    rows = sum(model.get_parameter(name)[0].numel() for site in sites_of(model) for name in site.routing.parameters[:1])
    rows += sum(1 for site in sites_of(model) for name in site.routing.parameters if name.endswith("router.bias"))
    assert count_active_parameters(model) == sum(each.numel() for each in small.parameters()) + 2 * rows
    assert count_active_parameters(build("llama")) is None


def test_a_prune_by_default_has_half_of_the_parameters():
    model, batches = build("mixtral", torch.float32, num_experts=8, num_local_experts=8), inputs("mixtral")
    report = prune(model, batches).report
    assert report.pruned.parameters <= 0.5 * report.dense.parameters
    assert report.pruned.active_parameters <= report.pruned.parameters
    assert report.dense.active_parameters < report.dense.parameters


def test_the_repair_minimises_the_error_of_the_block():
    """With one expert left it is ordinary least squares of the dense block's output."""
    model, batches = build("olmoe", num_hidden_layers=1), long_inputs("olmoe")
    (site,) = sites_of(model)
    plan = plan_for(model, {site.name: (1,)})
    small = repair(apply_plan(model, plan), model, batches, ridge=1e-9, smoothing=math.inf)
    seen, before = blocks(small, batches), blocks(model, batches)
    with torch.no_grad():
        x = torch.cat([x for x, _ in seen[site.name]])
        wanted = torch.cat([y for _, y in before[site.name]])
        answer = torch.stack([expert_by_hand(model.get_submodule(site.reader), each, 1) for each in x])
        fitted = answer @ torch.linalg.lstsq(answer, wanted).solution
        found = torch.cat([y for _, y in seen[site.name]])
    errors = [float((each - wanted).square().sum()) for each in (found, fitted, answer)]
    assert errors[0] < 1.01 * errors[1] < 0.9 * errors[2]


def test_what_does_not_fit_is_refused(tmp_path):
    model, batches = build("mixtral", torch.float32), inputs("mixtral")
    with pytest.raises(InputError, match=r"'wanda' has no score for layers.0.experts.*reap.*`criterion=information`"):
        prune(model, batches, criterion="wanda", keep=0.5)
    with pytest.raises(InputError, match=r"'reap' scores experts, but layers.0.heads has heads; pass `structures=exp"):
        prune(model, batches, criterion="reap", keep=0.5)
    with pytest.raises(InputError, match=r"`keep=0.1` leaves no expert of 4 in layers.0.experts"):
        prune(model, batches, structures=["experts"], keep=0.1)
    with pytest.raises(InputError, match="has no score for"):
        rank(collect(model, batches, sites=sites_of(model)), Wanda())
    with pytest.raises(InputError, match=r"MixtralForCausalLM, whose tokens choose experts.*run it in PyTorch"):
        export(model, tmp_path / "model.onnx", batches)
    assert prune(model, batches, structures=["experts"], criterion="reap", keep=0.5).report.nats_lost is None
