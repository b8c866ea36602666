from dataclasses import replace

import pytest
import torch
from tiny import logits_of, make_batches, mask_units, normal
from torch.testing import assert_close

from infoprune.errors import InputError
from infoprune.plan import Plan, plan_of
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan, unit_coordinates

FFN = {"layers.0.ffn": (1, 2, 5, 40), "layers.1.ffn": (0, 63)}
HEADS = {"layers.0.heads": (1, 3), "layers.1.heads": (2,)}


def plan_for(model, kept):
    units = {site.name: site.units for site in find_sites(model) if site.name in kept}
    return Plan("bert", units, kept, "random", 0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kept", [FFN, HEADS, FFN | HEADS], ids=["ffn", "heads", "both"])
def test_slicing_is_masking(make_tiny_bert, attention, kept):
    model = make_tiny_bert(torch.float64, attn_implementation=attention)
    batches, plan = make_batches(), plan_for(model, kept)
    small = apply_plan(model, plan)
    masked = mask_units(make_tiny_bert(torch.float64, attn_implementation=attention), plan)
    assert_close(logits_of(small, batches), logits_of(masked, batches), rtol=0, atol=1e-12)
    assert (logits_of(small, batches) - logits_of(model, batches)).abs().max() > 1e-3


def test_a_full_plan_is_the_identity(tiny_bert):
    everything = {site.name: tuple(range(site.units)) for site in find_sites(tiny_bert)}
    plan = plan_for(tiny_bert, everything)
    assert plan == replace(Plan.of_everything("bert", plan.units, "random", 0), nats_lost=None)
    statistics = collect(tiny_bert, make_batches())
    for small in (apply_plan(tiny_bert, plan), apply_plan(tiny_bert, plan, statistics)):
        assert torch.equal(logits_of(small, make_batches()), logits_of(tiny_bert, make_batches()))


def test_the_original_is_untouched(tiny_bert):
    before = {name: tensor.clone() for name, tensor in tiny_bert.state_dict().items()}
    config = tiny_bert.config.to_dict()
    small = apply_plan(tiny_bert, plan_for(tiny_bert, FFN | HEADS), collect(tiny_bert, make_batches()))
    small.classifier.weight.data.zero_()
    after = tiny_bert.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert tiny_bert.config.to_dict() == config
    assert plan_of(tiny_bert) is None


def test_shapes_attributes_and_config(tiny_bert):
    small = apply_plan(tiny_bert, plan_for(tiny_bert, FFN | HEADS))
    layer = small.bert.encoder.layer[0]
    attention = layer.attention.self
    assert (attention.num_attention_heads, attention.all_head_size, attention.attention_head_size) == (2, 16, 8)
    for projection in (attention.query, attention.key, attention.value):
        assert projection.weight.shape == (16, 32) == (projection.out_features, projection.in_features)
        assert projection.bias.shape == (16,)
    assert layer.attention.output.dense.weight.shape == (32, 16)
    assert layer.intermediate.dense.weight.shape == (4, 32)
    assert layer.intermediate.dense.out_features == layer.output.dense.in_features == 4
    assert [site.units for site in find_sites(small)] == [2, 4, 1, 2]
    assert small.config.intermediate_size == 64  # no single number is true of both layers
    even = {"layers.0.ffn": (1, 2, 5), "layers.1.ffn": (0, 6, 63)}
    assert apply_plan(tiny_bert, plan_for(tiny_bert, even)).config.intermediate_size == 3
    assert all(tensor.is_contiguous() for tensor in small.state_dict().values())


def test_kept_rows_are_those_of_the_plan(tiny_bert):
    small = apply_plan(tiny_bert, plan_for(tiny_bert, FFN | HEADS))
    dense, cut = tiny_bert.bert.encoder.layer[0], small.bert.encoder.layer[0]
    heads = unit_coordinates(torch.tensor([1, 3]), 8)
    assert heads.tolist() == [*range(8, 16), *range(24, 32)]
    assert torch.equal(cut.attention.self.key.weight, dense.attention.self.key.weight[heads])
    assert torch.equal(cut.intermediate.dense.bias, dense.intermediate.dense.bias[[1, 2, 5, 40]])
    assert torch.equal(cut.output.dense.weight, dense.output.dense.weight[:, [1, 2, 5, 40]])


def test_two_cuts_compose(tiny_bert):
    once = apply_plan(tiny_bert, plan_for(tiny_bert, FFN))
    later = {"layers.0.ffn": (0, 3), "layers.1.heads": (0, 2)}
    twice = apply_plan(once, plan_for(once, later))
    composed = plan_of(twice)
    assert composed.kept == {"layers.0.ffn": (1, 40), "layers.1.ffn": (0, 63), "layers.1.heads": (0, 2)}
    assert composed.units == {"layers.0.ffn": 64, "layers.1.ffn": 64, "layers.1.heads": 4}
    direct = apply_plan(tiny_bert, composed)
    assert torch.equal(logits_of(twice, make_batches()), logits_of(direct, make_batches()))
    assert plan_of(once).kept == FFN


def test_gradients_are_asked_for_as_before(tiny_bert):
    tiny_bert.bert.encoder.layer[0].requires_grad_(False)
    small = apply_plan(tiny_bert, plan_for(tiny_bert, FFN | HEADS))
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in tiny_bert.parameters()]


def test_a_plan_for_another_model(tiny_bert):
    units = {"layers.0.ffn": 64}
    with pytest.raises(InputError, match=r"'gpt2'.*'bert'"):
        apply_plan(tiny_bert, Plan("gpt2", units, {"layers.0.ffn": (0,)}, "random", 0))
    with pytest.raises(InputError, match=r"counts 65 units in layers\.0\.ffn, which has 64"):
        apply_plan(tiny_bert, Plan("bert", {"layers.0.ffn": 65}, {"layers.0.ffn": (0,)}, "random", 0))
    with pytest.raises(InputError, match=r"layers\.2\.ffn, which does not exist"):
        apply_plan(tiny_bert, Plan("bert", {"layers.2.ffn": 64}, {"layers.2.ffn": (0,)}, "random", 0))


def test_statistics_of_another_model(tiny_bert):
    plan = plan_for(tiny_bert, FFN)
    small = apply_plan(tiny_bert, plan)
    with pytest.raises(InputError, match=r"statistics.*layers\.0\.ffn.*collect"):
        apply_plan(tiny_bert, plan, collect(small, make_batches()))
    with pytest.raises(InputError, match=r"statistics.*layers\.0\.ffn.*collect"):
        apply_plan(tiny_bert, plan, collect(tiny_bert, make_batches(), sites=find_sites(tiny_bert, ["heads"])))


def test_compensation_brings_back_outputs_of_duplicated_units(tiny_bert64):
    for layer in tiny_bert64.bert.encoder.layer:
        up, down = layer.intermediate.dense, layer.output.dense
        up.weight.data[40:] = up.weight[:24]
        up.bias.data[40:] = up.bias[:24]
        value, output = layer.attention.self.value, layer.attention.output.dense
        value.weight.data[24:] = 0  # a head that says the same at every token: its mean goes into the bias
        value.bias.data[24:] = normal(8, seed=3)
        assert down.weight[:, 40:].abs().max() > 0.1 < output.weight[:, 24:].abs().max()
    kept = {site.name: tuple(range({"ffn": 40, "heads": 3}[site.structure])) for site in find_sites(tiny_bert64)}
    batches = make_batches(((9, 8, 12, 11), (12, 14, 10)))
    statistics = collect(tiny_bert64, batches, shrinkage=1e-10)
    dense = logits_of(tiny_bert64, batches)
    plan = plan_for(tiny_bert64, kept)
    assert_close(logits_of(apply_plan(tiny_bert64, plan, statistics), batches), dense, rtol=0, atol=1e-6)
    assert (logits_of(apply_plan(tiny_bert64, plan), batches) - dense).abs().max() > 1e-2


def test_compensated_readers_are_a_weighted_least_squares_fit(tiny_bert64):
    batches = make_batches()
    statistics = collect(tiny_bert64, batches, shrinkage=0.0, sites=find_sites(tiny_bert64, ["ffn"]))
    site = statistics.sites["layers.0.ffn"]
    kept = torch.tensor([1, 2, 5, 40])
    reader = apply_plan(tiny_bert64, plan_for(tiny_bert64, {"layers.0.ffn": (1, 2, 5, 40)}), statistics)
    reader = reader.get_submodule("bert.encoder.layer.0.output.dense")
    dense = tiny_bert64.get_submodule("bert.encoder.layer.0.output.dense")
    # what is left over has no mean and is uncorrelated with what was kept
    covariance, mean = site.covariance, site.moments.mean
    residual = dense.weight @ covariance[:, kept] - reader.weight @ covariance[kept][:, kept]
    assert_close(residual, torch.zeros_like(residual), rtol=0, atol=1e-12)
    assert_close(reader.weight @ mean[kept] + reader.bias, dense.weight @ mean + dense.bias)
