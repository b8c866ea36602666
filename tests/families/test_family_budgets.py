"""Budgets hold for every family: what is counted for single sites adds up, and every layer can be timed alone."""

import pytest
import torch
from zoo import build, inputs

from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.measuring.measure import count_bytes, count_flops, count_parameters, example_batch
from infoprune.pipeline.prune import Settings, prune
from infoprune.plan import Plan
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

pytestmark = pytest.mark.filterwarnings("ignore:.*calibration tokens")


def mixed(model):
    """Other numbers of units in every site."""
    return {site.name: max(1, site.units - 1 - index % 3) for index, site in enumerate(find_sites(model))}


@pytest.mark.parametrize("quantity", ["flops", "params", "bytes"])
def test_costs_add_up_to_those_of_a_model_that_is_really_cut(kind, quantity):
    model = build(kind.model_type, torch.float32)
    costs = find_costs(model, quantity, inputs(kind.model_type), multiple=1)
    counts = mixed(model)
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(number)) for name, number in counts.items()}
    small = apply_plan(model, Plan(model.config.model_type, units, kept, "first", 0))
    count = {
        "flops": lambda model: count_flops(model, example_batch(model.config, *costs.shape)),
        "params": count_parameters,
        "bytes": count_bytes,
    }[quantity]
    assert costs.of(counts) == count(small) < count(model) == costs.dense


def test_layers_are_timed(kind):
    costs = find_costs(build(kind.model_type, torch.float32), "latency", inputs(kind.model_type), multiple=8)
    assert 0 < costs.least <= costs.dense


def test_a_budget_is_met(kind):
    model, batches = build(kind.model_type, torch.float32), inputs(kind.model_type)
    settings = Settings(repair=False)
    result = prune(model, batches, budget=Budget("flops", 0.9), settings=settings)
    assert result.report.pruned.flops <= 0.9 * result.report.dense.flops
