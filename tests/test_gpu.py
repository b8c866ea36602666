"""What a CPU says, a GPU says too; where there is none, these tests are skipped."""

import copy

import pytest
import torch
from tiny import divergence, make_batches
from zoo import FORMS, answers, build, cast, inputs

from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.checkpoint import load, save
from infoprune.families import FAMILIES
from infoprune.measuring.measure import measure_latency
from infoprune.methods.apply import collect_for, prune_by
from infoprune.methods.table import METHODS
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import Plan
from infoprune.repairing import neurons
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.training.distill import Distillation, distill

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore:.*calibration tokens"),
]

BATCHES = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 6)


def on_gpu(model):
    return copy.deepcopy(model).to("cuda")


def said(model, batches):
    """All answers, on the CPU."""
    device = next(model.parameters()).device
    batches = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches]
    return answers(model, batches).cpu()


def near(first, second, tolerance=1e-5):
    return float((first - second).abs().max() / second.abs().max()) < tolerance


@pytest.mark.parametrize("model_type", FORMS)
def test_every_family_is_compressed_alike(model_type):
    model, batches = build(model_type), cast(inputs(model_type), torch.float64)
    settings = Settings(repair=not FAMILIES[model_type].shared, ridge=1e-2)
    here, there = (prune(each, batches, keep=2 / 3, settings=settings) for each in (model, on_gpu(model)))
    assert next(there.model.parameters()).device.type == "cuda"
    assert here.plan.kept == there.plan.kept
    assert near(said(there.model, batches), said(here.model, batches))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "slicegpt"])
@pytest.mark.parametrize("goal", [Keep(0.5), Budget("flops", 0.5)], ids=["keep", "budget"])
def test_every_method_prunes_alike(tiny_bert64, name, goal):
    found = []
    for model in (tiny_bert64, on_gpu(tiny_bert64)):
        statistics = collect_for(list(METHODS.values()), model, BATCHES)
        costs = find_costs(model, "flops", BATCHES, multiple=1)
        small, plan = prune_by(METHODS[name], model, BATCHES, statistics, goal, costs, seed=1)
        found.append((plan, said(small, BATCHES)))
    (plan, here), (same, there) = found
    assert plan.kept == same.kept
    assert near(there, here)


@pytest.mark.parametrize(
    ("sites", "settings"),
    [
        (("heads", "ffn", "hidden-size", "pooler"), Settings(shape="uniform")),
        (("heads", "ffn", "hidden-size"), Settings()),
        (("heads", "ffn", "hidden-size-per-layer"), Settings()),
        (None, Settings(rounds=2)),
        (None, Settings(augmentations=2)),
        (None, Settings(effort="thorough")),
        (None, Settings(memory=4 * 10**9)),
    ],
)
def test_all_kinds_of_site_and_settings_serve(monkeypatch, tiny_bert64, sites, settings, tmp_path):
    monkeypatch.setattr(neurons, "_gains", lambda *_: True)  # of so few tokens it would be false
    here, there = (
        prune(model, BATCHES, budget=Budget("flops", 0.5), structures=sites, settings=settings)
        for model in (tiny_bert64, on_gpu(tiny_bert64))
    )
    assert here.plan.kept == there.plan.kept
    assert near(said(there.model, BATCHES), said(here.model, BATCHES))
    save(there.model, tmp_path / "small")
    assert near(said(load(tmp_path / "small"), BATCHES), said(there.model, BATCHES), 1e-9)


def test_the_latency_of_a_gpu_is_a_budget():
    large = on_gpu(build("bert", torch.float32, hidden_size=1024, num_attention_heads=16, intermediate_size=8192))
    many = make_batches(((40,) * 64,) * 2)
    small = prune(large, many, budget=Budget("latency", 0.7), settings=Settings(repair=False)).model
    dense, cut = (each.median for each in measure_latency([large, small], many[0], repeats=15))
    assert 0.6 < cut / dense < 0.8


@pytest.mark.parametrize("bf16", [False, None])
def test_distillation_on_a_gpu(tiny_bert, bf16):
    model = on_gpu(tiny_bert)
    units = {site.name: site.units for site in find_sites(model)}
    small = apply_plan(
        model, Plan("bert", units, {name: tuple(range(n // 4)) for name, n in units.items()}, "first", 0)
    )
    lessons = make_batches(((7, 12, 9, 10), (12, 8, 11, 5)) * 16)
    trained = distill(small, model, lessons, how=Distillation(epochs=2, learning_rate=5e-3, bf16=bf16)).model
    fresh = make_batches(((9, 6, 11, 8),) * 4, seed=9)
    dense = said(model, fresh)
    assert next(trained.parameters()).device.type == "cuda"
    assert divergence(dense, said(trained, fresh)) < 0.8 * divergence(dense, said(small, fresh))
