"""A model comes back as it was, submodule by submodule, from everything that looks at it."""

import pytest
import torch
from tiny import make_batches

from infoprune.budgets.budget import Keep
from infoprune.measuring.measure import count_flops, example_batch, measure_latency
from infoprune.pipeline.prune import prune
from infoprune.plan import Plan
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect, collect_importance
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.pairs import Pairing
from infoprune.structure.modes import copy_modes, evaluation_mode
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.tasks.compare import compare
from infoprune.tasks.evaluate import evaluate
from infoprune.training.distill import Distillation, distill

BATCHES = make_batches(((9, 7, 12, 8),) * 3)


def half(model):
    units = {site.name: site.units for site in find_sites(model)}
    kept = {site.name: tuple(range(Keep(0.5).count(site))) for site in find_sites(model)}
    return apply_plan(model, Plan(model.config.model_type, units, kept, "random", 0))


LOOKS = {
    "evaluate": lambda model: evaluate(model, BATCHES),
    "compare": lambda model: compare(model, half(model), BATCHES),
    "count_flops": lambda model: count_flops(model, example_batch(model.config)),
    "measure_latency": lambda model: measure_latency([model], example_batch(model.config), repeats=1, warmup=0),
    "collect": lambda model: collect(model, BATCHES),
    "collect_importance": lambda model: collect_importance(model, BATCHES),
    "collect_pairs": lambda model: collect_pairs(model, BATCHES, collect(model, BATCHES), Pairing("logits", None, 1.0)),
    "repair": lambda model: repair(half(model), model, BATCHES),
    "distill": lambda model: distill(half(model), model, BATCHES, how=Distillation(epochs=1, bf16=False)),
    "prune": lambda model: prune(model, BATCHES, keep=0.5),
}


@pytest.fixture
def mixed(tiny_bert):
    """A model in training mode whose second layer is in evaluation mode, and one of whose weights is frozen."""
    tiny_bert.train()
    tiny_bert.bert.encoder.layer[1].eval()
    tiny_bert.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    return tiny_bert


def state(model):
    modes = {name: module.training for name, module in model.named_modules()}
    return modes, {name: each.requires_grad for name, each in model.named_parameters()}


@pytest.mark.filterwarnings("ignore:.*calibration tokens", "ignore:training did not bring")
@pytest.mark.parametrize("look", LOOKS)
def test_mixed_modes_come_back(mixed, look):
    before = state(mixed)
    assert len(set(before[0].values())) == 2
    LOOKS[look](mixed)
    assert state(mixed) == before


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_results_have_the_modes_of_the_original(mixed):
    for small in (half(mixed), repair(half(mixed), mixed, BATCHES), prune(mixed, BATCHES, keep=0.5).model):
        assert state(small)[0] == state(mixed)[0]


def test_modes_come_back_after_an_error(mixed):
    before = state(mixed)
    with evaluation_mode(mixed, freeze=True):
        assert not any(module.training for module in mixed.modules())
        assert not any(each.requires_grad for each in mixed.parameters())
    assert state(mixed) == before
    with pytest.raises(ValueError, match="inside"), evaluation_mode(mixed, freeze=True):
        int("inside")
    assert state(mixed) == before


def test_modes_are_copied():
    source = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    source[0].eval()
    target = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout()).eval()
    copy_modes(source, target)
    assert [module.training for module in target.modules()] == [True, False, True]
