import pytest
import torch
from tiny import logits_of, make_batches
from torch.testing import assert_close

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.gradual_pruning.sparsify import sparsify
from infoprune.gradual_pruning.table import TRAINED, TrainedMethod
from infoprune.gradual_pruning.weights import layer_maps, unit_weights
from infoprune.plan import plan_of
from infoprune.structure.sites import find_sites
from infoprune.training.distill import Distillation

BATCHES = make_batches(((7, 12, 9, 10), (12, 8, 11, 5)) * 16)
QUICK = Distillation(epochs=1, learning_rate=2e-3, bf16=False)
ENTRIES = [name for name, method in TRAINED.items() if method.choice == "entries"]
UNITS = [name for name, method in TRAINED.items() if method.choice == "units"]


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ENTRIES)
def test_as_many_weights_stay_as_asked_and_what_stays_is_trained(tiny_bert, name):
    before = state(tiny_bert)
    result = sparsify(tiny_bert, tiny_bert, BATCHES, method=name, keep=0.2, how=QUICK)
    assert same(before, state(tiny_bert))
    maps = layer_maps(result.model)
    there = {path: int(each.weight.count_nonzero()) for path, each in maps.items()}
    total = sum(each.weight.numel() for each in maps.values())
    if TRAINED[name].together:
        assert sum(there.values()) == round(0.2 * total)
    else:
        assert there == {path: round(0.2 * each.weight.numel()) for path, each in maps.items()}
    assert result.share == sum(there.values()) / total
    pairs = [(each.weight, tiny_bert.get_submodule(path).weight.detach()) for path, each in maps.items()]
    moved = torch.cat([(new != old)[new != 0] for new, old in pairs])
    assert moved.float().mean() > 0.99
    assert state(result.model).keys() == before.keys(), "no trace of the training"
    assert type(result.model.bert.encoder.layer[0].output.dense) is torch.nn.Linear


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("keep", [0.5, 0.15])
def test_units_fit_into_the_share_and_leave_no_room_for_another(tiny_bert, name, keep):
    result = sparsify(tiny_bert, tiny_bert, BATCHES, method=name, keep=keep, how=QUICK)
    sites = find_sites(tiny_bert)
    least = min(unit_weights(tiny_bert, site) for site in sites)
    total = sum(each.weight.numel() for each in layer_maps(tiny_bert).values())
    assert keep - least / total < result.share <= keep
    plan = plan_of(result.model)
    kept = sum(len(plan.kept[site.name]) * unit_weights(tiny_bert, site) for site in sites)
    assert kept == sum(each.weight.numel() for each in layer_maps(result.model).values()) == round(result.share * total)


@pytest.mark.parametrize("name", UNITS)
def test_a_smaller_model_can_be_saved_and_opened(tiny_bert, tokenizer, tmp_path, name):
    result = sparsify(tiny_bert, tiny_bert, BATCHES[:8], method=name, keep=0.4, how=QUICK)
    save(result.model, tmp_path / "small", tokenizer)
    opened = load(tmp_path / "small")
    assert_close(logits_of(opened, BATCHES[:1]), logits_of(result.model, BATCHES[:1]), rtol=0, atol=0)


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_seed_gives_the_same_model(tiny_bert, name):
    first, again, other = (
        state(sparsify(tiny_bert, tiny_bert, BATCHES, method=name, keep=0.5, how=QUICK, seed=s).model)
        for s in (3, 3, 4)
    )
    assert same(first, again)
    assert not same(first, other)


def test_what_is_held_out_is_not_trained_on(tiny_bert):
    told = []
    how = Distillation(epochs=1, held_out=0.25, bf16=False)
    result = sparsify(tiny_bert, tiny_bert, BATCHES, how=how, progress=lambda done, of: told.append((done, of)))
    assert told == [(step, 24) for step in range(1, 25)]
    assert result.steps == 24
    assert result.kl > 0
    whole = sparsify(tiny_bert, tiny_bert, BATCHES, how=Distillation(epochs=1, held_out=0, bf16=False))
    assert (whole.steps, whole.kl) == (len(BATCHES), None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "lottery"}, "method 'lottery' is not known, expected one of: magnitude, movement"),
        ({"keep": 0}, "keep is 0, expected a number above 0 and at most 1"),
        ({"keep": 1.5}, "keep is 1.5, expected"),
        ({"start": 0.8, "end": 0.2}, "a schedule of 30 steps from 0.8 to 0.2 of them, expected"),
        ({"batches": []}, "there are no calibration inputs, expected at least one batch"),
    ],
)
def test_wrong_input_is_refused(tiny_bert, given, message):
    arguments = {"batches": BATCHES, "how": Distillation(epochs=1)} | given
    with pytest.raises(InputError, match=message):
        sparsify(tiny_bert, tiny_bert, **arguments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("entries", "gates"), "entries by gates is not supported, expected magnitude or movement"),
        (("units", "movement"), "units by movement is not supported, expected magnitude or gates"),
        (("entries", "movement", False, 0.0), "rate 0 and penalty 0, expected a rate above 0"),
        (("entries", "movement", False, 0.1, -1.0), "rate 0.1 and penalty -1, expected a rate above 0"),
    ],
)
def test_a_method_that_is_not_there_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        TrainedMethod("new", *given)
