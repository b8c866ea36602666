"""Neurons and heads that are chosen while a model trains, in all families."""

from functools import partial

import pytest
import torch
from tiny import make_batches, normal
from torch.testing import assert_close
from zoo import MASKABLE, answers, build, cast, inputs

from infoprune.errors import InputError
from infoprune.gradual_pruning.hard_concrete import open_probability
from infoprune.gradual_pruning.table import TRAINED, TrainedMethod
from infoprune.gradual_pruning.units import Units
from infoprune.gradual_pruning.weights import layer_maps, share_left, unit_weights, weights_of_all
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

MAGNITUDE, GATES = TRAINED["structured-magnitude"], TRAINED["l0"]


def logits(model, model_type):
    with torch.no_grad():
        return [answers(model, [batch]) for batch in cast(inputs(model_type), model.dtype)]


@pytest.mark.parametrize("model_type", [name for name in MASKABLE if name != "olmo2"])  # a norm of all heads
@pytest.mark.parametrize("method", [MAGNITUDE, GATES], ids=lambda method: method.name)
def test_slicing_what_goes_equals_masking_it(model_type, method):
    model = build(model_type)
    dense = build(model_type)
    units = Units(model, method, seed=0)
    if units.gates.locations is not None:
        units.gates.locations.data = normal(len(units.weights)).float()
    units.narrow(0.6, settled=True)
    gated = logits(model, model_type)
    plan = units.finish()
    small = apply_plan(model, plan)
    assert 0.3 < share_left(small, dense) <= 0.6
    assert_close(logits(small, model_type), gated, rtol=0, atol=1e-6 if model.dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("model_type", MASKABLE)
def test_every_weight_of_the_layers_goes_with_one_unit(model_type):
    model = build(model_type)
    total = sum(each.weight.numel() for each in layer_maps(model).values())
    of_all = sum(weights_of_all(model, site) for site in find_sites(model))
    assert sum(site.units * unit_weights(model, site) for site in find_sites(model)) == total - of_all


def test_the_smallest_units_go_by_all_that_writes_or_reads_them(tiny_bert):
    for index, site in enumerate(find_sites(tiny_bert)):
        for unit in range(site.units):
            for rows in site.producers:
                chosen = rows.rows(torch.tensor([unit]), site.units)
                tiny_bert.get_submodule(rows.module).weight.data[chosen] *= (7 * unit + index) % site.units + 1
    norms = {}
    for site in find_sites(tiny_bert):
        norms[site.name] = []
        for unit in range(site.units):
            columns = slice(unit * site.size, (unit + 1) * site.size)
            parts = [tiny_bert.get_submodule(site.reader).weight[:, columns]]
            parts += [
                tiny_bert.get_submodule(rows.module).weight[rows.rows(torch.tensor([unit]), site.units)]
                for rows in site.producers
            ]
            norms[site.name].append(sum(float(part.detach().square().sum()) for part in parts))
    units = Units(tiny_bert, MAGNITUDE, seed=0)
    units.narrow(0.5, settled=False)
    for name, kept in units.finish().kept.items():
        each = norms[name]
        assert len(kept) == len(each) // 2
        assert {*kept} == {*sorted(range(len(each)), key=lambda u: -each[u])[: len(kept)]}


def test_units_that_are_masked_come_back_once_they_are_the_largest(tiny_bert):
    units = Units(tiny_bert, MAGNITUDE, seed=0)
    units.narrow(0.5, settled=False)
    gone = int((units.gates.value == 0).nonzero()[-1])
    site = find_sites(tiny_bert)[-1]
    unit = gone - (len(units.weights) - site.units)
    tiny_bert.get_submodule(site.producers[0].module).weight.data[unit] *= 100
    units.narrow(0.5, settled=False)
    assert units.gates.value[gone] == 1


def test_the_lagrangian_pulls_the_expected_share_to_the_target(tiny_bert):
    """Without any other loss, descent in the locations and ascent in the multipliers meet the schedule."""
    units = Units(tiny_bert, GATES, seed=0)
    gates = units.gates
    descent = torch.optim.Adam([gates.locations], lr=0.05)
    ascent = torch.optim.SGD([gates.multipliers], lr=0.5, maximize=True)
    shares = units.weights / units.weights.sum()
    start = float((open_probability(gates.locations.detach()) * shares).sum())
    assert start > 0.8
    for _ in range(400):
        units.narrow(0.3, settled=False)
        over = float((open_probability(gates.locations.detach()) * shares).sum()) - 0.3
        first, second = gates.multipliers.tolist()
        assert float(units.penalty().detach()) == pytest.approx(first * over + second * over**2, abs=1e-6)
        for optimizer in (descent, ascent):
            optimizer.zero_grad()
        units.penalty().backward()
        for optimizer in (descent, ascent):
            optimizer.step()
    assert abs(over) < 0.02
    units.narrow(0.3, settled=True)
    assert units.penalty() == 0.0


def test_all_that_read_a_gate_in_a_step_see_the_same_draw_and_the_next_step_another(tiny_bert):
    units = Units(tiny_bert, GATES, seed=0)
    (batch, *_) = make_batches()
    with torch.no_grad():
        first, again = (tiny_bert(**batch).logits for _ in range(2))
        units.narrow(1.0, settled=False)
        other = tiny_bert(**batch).logits
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_gates_and_multipliers_are_trained_apart_and_in_opposite_directions(tiny_bert):
    downhill, uphill = Units(tiny_bert, TrainedMethod("gates", "units", "gates", rate=0.3), seed=0).groups
    assert (downhill.uphill, uphill.uphill) == (False, True)
    assert downhill.learning_rate == uphill.learning_rate == 0.3
    assert Units(tiny_bert, MAGNITUDE, seed=0).groups == ()


def test_experts_cannot_be_masked_in_training():
    model = build("mixtral")
    for begin in (partial(Units, model, MAGNITUDE, seed=0), partial(layer_maps, model)):
        with pytest.raises(InputError, match=r"mixtral has experts, .*use infoprune\.prune"):
            begin()
