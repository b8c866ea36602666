import math

import pytest
import torch
from tiny import captured, divergence, logits_of, make_batches, split
from torch.testing import assert_close

from infoprune.budgets.allocate import Keep, allocate
from infoprune.errors import InputError
from infoprune.plan import Plan
from infoprune.ranking.criteria import ChannelInformation, Random
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.statistics import token_weights
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

LENGTHS = ((7, 12, 9, 10, 12, 8, 11, 5),) * 8


def cut(model, batches, keep=0.5, criterion=None, compensated=True):
    statistics = collect(model, batches)
    plan = allocate(rank(statistics, criterion or ChannelInformation()), Keep(keep))
    return apply_plan(model, plan, statistics if compensated else None), statistics


def states(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model, before):
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def error_at(path, small, dense, batches, weights):
    """Weighted mean squared distance of what a module is given in the two models."""
    found = []
    for model in (small, dense):
        total = []
        handle = model.get_submodule(path).register_forward_pre_hook(lambda _, x, total=total: total.append(x[0]))
        logits_of(model, batches)
        handle.remove()
        found.append(total)
    pairs = zip(*found, weights, strict=True)
    return sum(float((w * (a - b).square().sum(-1)).sum()) for a, b, w in pairs) / sum(float(w.sum()) for w in weights)


def test_nothing_to_repair(tiny_bert64):
    batches = make_batches()
    units = {site.name: site.units for site in find_sites(tiny_bert64)}
    whole = apply_plan(tiny_bert64, Plan.of_everything("bert", units, "random", 0))
    assert_close(
        logits_of(repair(whole, tiny_bert64, batches), batches), logits_of(tiny_bert64, batches), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("producers", [True, False])
def test_outputs_of_duplicated_units_come_back(tiny_bert64, producers):
    """Half of the neurons repeat the other half, two heads of four the other two: less can say the same."""
    batches = make_batches(LENGTHS)
    for layer in tiny_bert64.bert.encoder.layer:
        attention = layer.attention.self
        for module, half in (
            (layer.intermediate.dense, 32),
            *((m, 16) for m in (attention.query, attention.key, attention.value)),
        ):
            module.weight.data[half:] = module.weight[:half]
            module.bias.data[half:] = module.bias[:half]
    kept = {site.name: tuple(range(site.units // 2)) for site in find_sites(tiny_bert64)}
    plan = Plan("bert", {site.name: site.units for site in find_sites(tiny_bert64)}, kept, "random", 0)
    small = apply_plan(tiny_bert64, plan)
    dense = logits_of(tiny_bert64, batches)
    assert (logits_of(small, batches) - dense).abs().max() > 1e-2
    repaired = repair(small, tiny_bert64, batches, ridge=1e-9, producers=producers)
    assert_close(logits_of(repaired, batches), dense, rtol=0, atol=1e-5)
    new = make_batches(LENGTHS, seed=5)
    assert divergence(logits_of(tiny_bert64, new), logits_of(repaired, new)) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("producers", [True, False])
def test_it_comes_nearer_to_the_dense_model(make_tiny_bert, dtype, producers):
    model, batches = make_tiny_bert(dtype), make_batches(LENGTHS)
    small, statistics = cut(model, batches, criterion=Random(), compensated=False)
    repaired = repair(small, model, batches, statistics=statistics, ridge=1e-6, producers=producers)
    dense = logits_of(model, batches)
    before, after = (divergence(dense, logits_of(each, batches)) for each in (small, repaired))
    assert after < before / 2
    weights = token_weights(statistics, "layers.1.ffn", [b["attention_mask"].bool() for b in batches], 3.0)
    top = "bert.encoder.layer.1.output.LayerNorm"  # its input is the reader's output with the residual
    assert error_at(top, repaired, model, batches, weights) < error_at(top, small, model, batches, weights)
    assert all(tensor.dtype == dtype for tensor in repaired.state_dict().values() if tensor.is_floating_point())


def test_the_top_reader_is_the_weighted_least_squares_fit(tiny_bert64):
    """Given everything below it, no other weight of the top reader does better on the same tokens."""
    batches = make_batches(LENGTHS)
    small, statistics = cut(tiny_bert64, batches)
    repaired = repair(small, tiny_bert64, batches, statistics=statistics, ridge=1e-12, producers=False)
    site = find_sites(tiny_bert64)[-1]
    with captured(repaired, site.reader) as calls:
        logits_of(repaired, batches)
    x = torch.cat([inputs.flatten(0, 1) for inputs, _ in calls])
    w = torch.cat([each.flatten() for each in token_weights(statistics, site.name, masks(batches), 3.0)])
    left = torch.cat(gaps("bert.encoder.layer.1.output.LayerNorm", repaired, tiny_bert64, batches))
    full = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    normal_equations = full.T @ (left * w[:, None]) / w.sum()
    assert_close(normal_equations, torch.zeros_like(normal_equations), rtol=0, atol=1e-8)


def masks(batches):
    return [batch["attention_mask"].bool() for batch in batches]


def gaps(path, small, dense, batches):
    streams = []
    for model in (small, dense):
        seen = []
        handle = model.get_submodule(path).register_forward_pre_hook(
            lambda _, x, seen=seen: seen.append(x[0].flatten(0, 1))
        )
        logits_of(model, batches)
        handle.remove()
        streams.append(seen)
    return [a - b for a, b in zip(*streams, strict=True)]


def test_models_are_untouched_and_modes_kept(tiny_bert):
    batches = make_batches()
    small, statistics = cut(tiny_bert, batches)
    small.train()
    tiny_bert.train()
    tiny_bert.classifier.eval()
    before = states(small), states(tiny_bert), [module.training for module in tiny_bert.modules()]
    repaired = repair(small, tiny_bert, batches, statistics=statistics)
    assert_untouched(small, before[0])
    assert_untouched(tiny_bert, before[1])
    assert [module.training for module in tiny_bert.modules()] == before[2]
    assert repaired.training
    assert [p.requires_grad for p in repaired.parameters()] == [p.requires_grad for p in small.parameters()]


def test_it_is_deterministic(tiny_bert):
    batches = make_batches()
    small, statistics = cut(tiny_bert, batches)
    first = repair(small, tiny_bert, batches, statistics=statistics)
    again = repair(small, tiny_bert, batches)  # collects the same statistics itself
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_neither_batches_nor_padding_matter(tiny_bert64):
    batches = make_batches()
    small, _ = cut(tiny_bert64, batches)
    whole, single = (repair(small, tiny_bert64, each) for each in (batches, split(batches)))
    assert_close(logits_of(whole, batches), logits_of(single, batches), rtol=0, atol=1e-8)


def test_only_readers_change_without_producers(tiny_bert):
    batches = make_batches()
    small, statistics = cut(tiny_bert, batches)
    repaired = repair(small, tiny_bert, batches, statistics=statistics, producers=False, ridge=0.1)
    changed = {
        name for name, tensor in repaired.state_dict().items() if not torch.equal(tensor, small.state_dict()[name])
    }
    assert changed == {f"{site.reader}.{parameter}" for site in find_sites(small) for parameter in ("weight", "bias")}


def test_an_error_leaves_everything_as_it_was(tiny_bert):
    batches = make_batches()
    small, statistics = cut(tiny_bert, batches)
    tiny_bert.train()
    before = states(small)

    def fail(done, of):
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        repair(small, tiny_bert, batches, statistics=statistics, progress=fail)
    assert tiny_bert.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny_bert.modules())
    assert_untouched(small, before)


def test_statistics_of_other_batches(tiny_bert):
    small, statistics = cut(tiny_bert, make_batches())
    with pytest.raises(InputError, match="other batches"):
        repair(small, tiny_bert, make_batches(((3, 4),)), statistics=statistics)


def test_progress_counts_steps(tiny_bert):
    batches, seen = make_batches(), []
    small, statistics = cut(tiny_bert, batches)
    repair(small, tiny_bert, batches, statistics=statistics, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(done, 12) for done in range(1, 13)]  # query, key, value, output, up and down of two layers


@pytest.mark.parametrize("smoothing", [0.0, 3.0, math.inf])
def test_token_weights(tiny_bert, smoothing):
    batches = make_batches()
    statistics = collect(tiny_bert, batches)
    weights = token_weights(statistics, "layers.0.ffn", masks(batches), smoothing)
    real = torch.cat([weight[mask] for weight, mask in zip(weights, masks(batches), strict=True)])
    assert float(real.mean()) == pytest.approx(1 if math.isinf(smoothing) else 1 + smoothing)
    assert float(real.min()) >= (1 if math.isinf(smoothing) else smoothing)
    assert sum(float(weight.sum()) for weight in weights) == pytest.approx(float(real.sum()))  # padding weighs nothing
