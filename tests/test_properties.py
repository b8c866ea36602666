"""Laws over random tiny models and random plans: sizes, families and cuts that nobody has thought of."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import mask_units
from zoo import answers, build, inputs

from infoprune.checkpoint import load, save
from infoprune.measuring.measure import count_parameters
from infoprune.plan import Plan, plan_of
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

# The run-time type checker draws which items of a collection it looks at.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

GATELESS = ("bert", "distilbert", "electra", "gpt2", "gpt_neox", "llama", "mpnet", "opt", "qwen3", "roberta")
"""Families whose sites are read by plain linear maps, so that a mask is easily said."""

random_cases = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@st.composite
def models(seed_run):
    family = seed_run(st.sampled_from(GATELESS))
    layers = seed_run(st.integers(1, 3))
    name = {"distilbert": "n_layers", "gpt2": "n_layer"}.get(family, "num_hidden_layers")
    return build(family, seed=seed_run(st.integers(0, 9)), **{name: layers})


@st.composite
def cuts(seed_run, model):
    """A random plan for some of a model's sites."""
    sites = seed_run(st.lists(st.sampled_from(find_sites(model)), min_size=1, unique_by=lambda site: site.name))
    kept = {
        site.name: tuple(sorted(seed_run(st.sets(st.integers(0, site.units - 1), min_size=1, max_size=site.units))))
        for site in sites
    }
    units = {site.name: site.units for site in sites}
    return Plan(model.config.model_type, units, kept, "random", 0)


def near(a, b):
    return float((a - b).abs().max()) <= 1e-10 * float(b.abs().max())


@random_cases
@given(st.data())
def test_slicing_is_masking(data):
    model = data.draw(models())
    plan = data.draw(cuts(model))
    batches = inputs(model.config.model_type)
    small = answers(apply_plan(model, plan), batches)
    assert near(small, answers(mask_units(model, plan), batches))


@random_cases
@given(st.data())
def test_what_is_saved_is_what_is_loaded(data):
    model = data.draw(models())
    small = apply_plan(model, data.draw(cuts(model)))
    with tempfile.TemporaryDirectory() as folder:
        save(small, Path(folder) / "out")
        back = load(Path(folder) / "out")
    assert plan_of(back) == plan_of(small)
    batches = inputs(model.config.model_type)
    assert torch.equal(answers(back, batches), answers(small, batches))


@random_cases
@given(st.data())
def test_one_cut_after_another_is_one_cut(data):
    model = data.draw(models())
    once = apply_plan(model, data.draw(cuts(model)))
    twice = apply_plan(once, data.draw(cuts(once)))
    straight = apply_plan(model, plan_of(twice))
    assert straight.state_dict().keys() == twice.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), twice.parameters(), strict=True))


@random_cases
@given(st.data())
def test_every_unit_has_its_own_parameters(data):
    model = data.draw(models())
    plan = data.draw(cuts(model))
    small = apply_plan(model, plan)
    counts = {site.name: site.units for site in find_sites(small)}
    gone = 0
    for site in find_sites(model):
        left = len(plan.kept.get(site.name, range(site.units)))
        assert counts[site.name] == left
        if left < site.units:  # what one unit costs, by a cut of that unit alone
            one = Plan(plan.model_type, {site.name: site.units}, {site.name: tuple(range(1, site.units))}, "", 0)
            gone += (site.units - left) * (count_parameters(model) - count_parameters(apply_plan(model, one)))
    assert count_parameters(model) - count_parameters(small) == gone
    assert gone or all(len(kept) == plan.units[name] for name, kept in plan.kept.items())
