"""Single weights that are chosen while a model trains."""

import pytest
import torch
from tiny import logits_of, make_batches
from torch.testing import assert_close
from zoo import MASKABLE, answers, build, cast, inputs

from infoprune.gradual_pruning.entries import Entries
from infoprune.gradual_pruning.table import TRAINED
from infoprune.gradual_pruning.weights import layer_maps, trainable

MAGNITUDE, MOVEMENT, SOFT = TRAINED["magnitude"], TRAINED["movement"], TRAINED["soft-movement"]


def drawn_scores(entries):
    (group,) = entries.groups
    for index, scores in enumerate(group.parameters):
        scores.data = torch.randn(scores.shape, generator=torch.Generator().manual_seed(index)).to(scores.dtype)
    return group.parameters


def best(scores, keep):
    """True at the largest, by sorting."""
    order = scores.detach().flatten().argsort(descending=True, stable=True)
    chosen = torch.zeros(len(order), dtype=torch.bool)
    chosen[order[: round(keep * len(order))]] = True
    return chosen.reshape(scores.shape)


def test_scores_feel_the_slope_times_the_weight_and_weights_that_are_gone_feel_nothing(make_tiny_bert):
    model, plain = make_tiny_bert(torch.float64), make_tiny_bert(torch.float64)
    entries = Entries(model, MOVEMENT)
    scores = drawn_scores(entries)
    entries.narrow(0.3, settled=False)
    for (path, each), own in zip(layer_maps(plain).items(), scores, strict=True):
        plain.get_submodule(path).weight.data = each.weight * best(own, 0.3)
    (batch, *_) = make_batches()
    for one in (model, plain):
        one(**batch).logits.square().sum().backward()
    for path, own in zip(layer_maps(plain), scores, strict=True):
        weight, masked = trainable(model.get_submodule(path)), plain.get_submodule(path).weight
        assert_close(own.grad, masked.grad * weight.detach(), rtol=1e-9, atol=1e-12)
        assert_close(weight.grad, masked.grad * best(own, 0.3), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model_type", MASKABLE)
def test_zeros_in_the_weights_do_what_the_masks_did(model_type):
    model = build(model_type)
    entries = Entries(model, MAGNITUDE)
    before = {path: trainable(each.module).detach().clone() for path, each in layer_maps(model).items()}
    batches = cast(inputs(model_type), model.dtype)
    entries.narrow(0.4, settled=True)
    with torch.no_grad():
        masked = answers(model, batches)
        entries.finish()
        assert_close(answers(model, batches), masked, rtol=0, atol=0)
    for path, weight in before.items():
        assert torch.equal(model.get_submodule(path).weight.detach(), weight * best(weight.abs(), 0.4))


def test_a_weight_comes_back_when_its_score_has_risen(tiny_bert):
    dense = logits_of(tiny_bert, make_batches())
    entries = Entries(tiny_bert, MOVEMENT)
    scores = drawn_scores(entries)
    entries.narrow(0.5, settled=False)
    first = best(scores[0], 0.5)
    scores[0].data.neg_()
    entries.narrow(0.5, settled=False)
    path = next(iter(layer_maps(tiny_bert)))
    assert torch.equal(tiny_bert.get_submodule(path).weight != 0, ~first)
    entries.narrow(1.0, settled=False)
    assert torch.equal(logits_of(tiny_bert, make_batches()), dense)


def test_the_penalty_of_soft_movement_is_the_mean_of_all_scores_and_rises_with_what_is_gone(tiny_bert):
    entries = Entries(tiny_bert, SOFT)
    scores = drawn_scores(entries)
    mean = float(torch.cat([own.detach().flatten() for own in scores]).sigmoid().mean())
    for share in (1.0, 0.6, 0.1):
        entries.narrow(share, settled=False)
        assert float(entries.penalty().detach()) == pytest.approx(SOFT.penalty * (1 - share) * mean, rel=1e-5)
    entries.penalty().backward()
    assert all((own.grad > 0).all() for own in scores), "it draws all of them down"
    assert Entries(build("bert"), MOVEMENT).penalty() == 0.0
