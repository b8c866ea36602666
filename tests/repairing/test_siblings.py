"""Modules that read the same tensor are re-fitted in one pause, with the same result as one by one."""

import copy
import gc

import pytest
import torch
from test_lockstep import hooks
from test_refit_steps import halved
from tiny import captured
from torch.testing import assert_close
from zoo import build, inputs, long_inputs

from infoprune.repairing.refit_steps import refit_steps
from infoprune.repairing.repair import repair
from infoprune.repairing.siblings import find_siblings
from infoprune.statistics.calibration import real_tokens
from infoprune.statistics.collect import collect_importance
from infoprune.statistics.huber import huber_weights
from infoprune.structure.scale import output_scale
from infoprune.structure.sites import find_sites

RIDGE = 0.1
SELF = ["q_proj k_proj v_proj", "out_proj"]
CROSS = ["q_proj", "k_proj v_proj", "out_proj"]
LAYERS = {  # of every layer, by the source of the model in transformers
    "bert": ["query key value", "dense", "dense", "dense"],
    "llama": ["q_proj k_proj v_proj", "o_proj", "gate_proj up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc", "c_proj"],
    "t5": ["q k v", "o", "wi", "wo"],
    "bart": [*SELF, "fc1", "fc2"],
}
ABOVE = {"t5": ["q k v", "o", "q", "k v", "o", "wi", "wo"], "bart": [*SELF, *CROSS, "fc1", "fc2"]}


@pytest.mark.parametrize("name", LAYERS)
def test_siblings_are_what_the_layers_say(name):
    dense = build(name)
    small = halved(dense)
    steps, before = refit_steps(small, dense), hooks(small)
    found = find_siblings(small, inputs(name), steps)
    said = [" ".join(step.module.rpartition(".")[2] for step in group) for group in found]
    layers = len({site.name.rpartition(".")[0] for site in find_sites(dense)})
    if name in ABOVE:
        assert said == LAYERS[name] * (layers // 2) + ABOVE[name] * (layers // 2)
    else:
        assert said == LAYERS[name] * layers
    assert sorted(step.module for group in found for step in group) == sorted(steps)
    assert hooks(small) == before


def test_a_tensor_that_has_changed_in_between_is_another():
    dense = build("llama")
    small = halved(dense)
    for layer in small.model.layers:
        layer.mlp.gate_proj.register_forward_hook(lambda _, x, y: x[0].mul_(2) is None or y)
    found = find_siblings(small, inputs("llama"), refit_steps(small, dense))
    said = [[step.module.rpartition(".")[2] for step in group] for group in found]
    assert ["gate_proj"] in said
    assert ["q_proj", "k_proj", "v_proj"] in said


def regression(step, model, dense, batches, importance):
    """All samples of a step, from whole passes: inputs, targets less the residual, and weights."""
    scale = output_scale(model, step.module, step.scale)
    found = []
    for batch, weight in zip(batches, importance, strict=True):
        totals = []
        for each in (model, dense):
            above = step.stream or step.module
            with captured(each, step.module) as own, captured(each, above) as below, torch.no_grad():
                each(**batch)
            residual = below[0][0] if step.stream else torch.zeros_like(own[0][1])
            totals.append((own[0][0], own[0][1] * (1 if scale is None else scale), residual))
        (x, y, residual), (_, wanted, dense_residual) = totals
        target = wanted + dense_residual
        target = target if step.kept_outputs is None else target[..., step.kept_outputs]
        for vectors in (x, target - y - residual):
            weight = weight * huber_weights(vectors, weight > 0)
        found.append([each.flatten(0, 1) for each in (x, target - residual)] + [weight.flatten()])
    return [torch.cat(each) for each in zip(*found, strict=True)]


def one_by_one(small, dense, batches):
    """The repair with passes from the bottom for every module, and with equal weights of all tokens."""
    model, order = copy.deepcopy(small), []
    steps = refit_steps(model, dense)
    handles = [
        model.get_submodule(path).register_forward_hook(lambda *_, path=path: order.append(path)) for path in steps
    ]
    with torch.no_grad():
        model(**batches[0])
    for handle in handles:
        handle.remove()
    for path in order:
        step, module = steps[path], model.get_submodule(path)
        x, target, w = regression(step, model, dense, batches, [real_tokens(b, step.stack).double() for b in batches])
        factor = output_scale(model, path, step.scale)
        weight = module.weight if factor is None else module.weight * factor[:, None]
        means = [(w[:, None] * each).sum(0) / w.sum() if module.bias is not None else 0 for each in (x, target)]
        x, target = x - means[0], target - means[1]
        covariance = (x.T * w) @ x / w.sum()
        left = ((target - x @ weight.T).T * w) @ x / w.sum()
        level = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
        weight = weight + torch.linalg.solve(covariance + level, left, left=False)
        bias = means[1] - weight @ means[0] if module.bias is not None else None
        with torch.no_grad():
            module.weight.copy_(weight if factor is None else weight / factor[:, None])
            if bias is not None:
                module.bias.copy_(bias if factor is None else bias / factor)
    return model


@pytest.mark.parametrize("name", ["llama", "bert", "bart", "granite"])
def test_a_repair_is_one_of_module_after_module(name):
    dense, batches = build(name), long_inputs(name)
    small = halved(dense)
    statistics = collect_importance(dense, batches)
    repaired = repair(small, dense, batches, statistics=statistics, smoothing=float("inf"), ridge=RIDGE, neurons=False)
    expected = one_by_one(small, dense, batches)
    for (path, one), other in zip(repaired.named_parameters(), expected.parameters(), strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-6, msg=lambda text, path=path: f"{path}: {text}")


def test_no_pass_holds_what_neurons_are_made_of():
    """While producers are re-fitted nothing is as wide as a network, and at its reader only what that reads."""
    dense = build("llama", intermediate_size=94)
    small, batches, seen = halved(dense, ("ffn",)), inputs("llama"), []
    groups = find_siblings(small, batches, refit_steps(small, dense))
    modules = [step.module.rpartition(".")[2] for group in groups for step in group]

    def wide():
        gc.collect()
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.ndim == 3]
        return sorted(each.shape[-1] for each in tensors if each.shape[-1] in (47, 94) and not each.requires_grad)

    statistics = collect_importance(dense, batches)
    before = wide()
    repair(
        small,
        dense,
        batches,
        statistics=statistics,
        neurons=False,
        progress=lambda done, _: seen.append((modules[done - 1], wide())),
    )
    assert before == []
    for module, widths in seen:
        assert widths == ([47] * len(batches) if module == "down_proj" else []), module
