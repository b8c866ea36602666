"""Layer scale: factors between a reader and the stream; the oracle is a model that has them in its weights."""

import copy
import math

import torch
from test_contract import even, plan_for, relative
from zoo import answers, build, long_inputs

from infoprune.repairing.repair import repair
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan


def folded(model):
    """The same model with factors of one."""
    model = copy.deepcopy(model)
    for site in find_sites(model):
        scale, reader = model.get_parameter(site.scale), model.get_submodule(site.reader)
        reader.weight.data *= scale.data[:, None]
        reader.bias.data *= scale.data
        scale.data.fill_(1)
    return model


def test_a_repair_is_that_of_the_folded_model():
    model, batches = build("dinov2"), long_inputs("dinov2")
    for site in find_sites(model):
        model.get_parameter(site.scale).data *= torch.logspace(-3, 0, 48, dtype=torch.float64)
    without = folded(model)
    assert relative(answers(without, batches), answers(model, batches)) < 1e-12
    found, wanted = (
        # equal weights: the gradients that weigh the tokens lie before the factors in one model and behind in the other
        answers(repair(apply_plan(dense, plan_for(dense, even(dense))), dense, batches, smoothing=math.inf), batches)
        for dense in (model, without)
    )
    assert relative(found, wanted) < 1e-9
    assert relative(found, answers(apply_plan(model, plan_for(model, even(model))), batches)) > 1e-3


def test_a_coordinate_that_the_scale_drops_keeps_its_row():
    model, batches = build("dinov2"), long_inputs("dinov2")
    site = find_sites(model, ["ffn"])[1]
    model.get_parameter(site.scale).data[5] = 0
    small = apply_plan(model, plan_for(model, even(model)))
    rows = [each.get_submodule(site.reader).weight for each in (small, repair(small, model, batches, ridge=1e-3))]
    same = (rows[0] == rows[1]).all(1)
    assert same.nonzero().flatten().tolist() == [5]


def test_gated_neurons_are_another_row(tmp_path):
    model = build("dinov2", use_swiglu_ffn=True)
    (site, _) = find_sites(model, ["ffn"])
    assert [rows.module.rpartition(".")[2] for rows in site.producers] == ["gate_proj", "up_proj"]
    small = apply_plan(model, plan_for(model, even(model)))
    small.save_pretrained(tmp_path)
    back = type(model).from_pretrained(tmp_path, dtype="auto").eval()
    batches = long_inputs("dinov2")
    assert torch.equal(answers(back, batches), answers(small, batches))
