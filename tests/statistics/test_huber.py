import math
import sys
from functools import partial

import torch
from tiny import divergence, normal, split
from torch.testing import assert_close
from zoo import answers, build, long_inputs

from infoprune.budgets.allocate import Keep, allocate
from infoprune.ranking.criteria import Random
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.huber import LIMIT, huber_weights
from infoprune.surgery import apply_plan


def massive(model, path, times):
    """The first token of every text is read that many times as loud."""

    def louder(_module, inputs):
        x = inputs[0].clone()
        x[:, 0] *= times
        return (x,)

    model.get_submodule(path).register_forward_pre_hook(louder)
    return model


def test_ordinary_tokens_count_whole_and_padding_not_at_all():
    x = normal(3, 20, 8)
    real = torch.arange(20) < torch.tensor([20, 7, 1])[:, None]
    assert torch.equal(huber_weights(x, real), real.double())


def test_no_token_counts_for_more_than_the_limit():
    x = normal(4, 9, 8) * torch.logspace(0, 4, 9).double()[:, None]
    real = torch.arange(9) < torch.tensor([9, 8, 6, 5])[:, None]
    energy = x.square().sum(-1)
    for text, weights, mask in zip(energy, huber_weights(x, real), real, strict=True):
        allowed = LIMIT * text[mask].median()
        assert_close(weights[mask] * text[mask], text[mask].clamp_max(allowed), rtol=1e-12, atol=0)


def test_texts_are_looked_at_alone_and_units_do_not_matter():
    x = normal(3, 9, 8) * torch.logspace(0, 3, 9).double()[:, None]
    real = torch.arange(9) < torch.tensor([9, 7, 5])[:, None]
    together = huber_weights(1e-4 * x, real)
    for row, (text, mask) in enumerate(zip(x, real, strict=True)):
        alone = huber_weights(text[mask][None], mask[mask][None])
        assert_close(together[row][mask], alone[0], rtol=1e-12, atol=0)


def test_what_is_not_finite_is_left_for_others_to_find():
    x = torch.tensor([[[math.inf], [1.0], [1.0], [math.nan]]])
    assert (huber_weights(x, torch.ones(1, 4, dtype=torch.bool)) == 1).all()


def test_statistics_do_not_depend_on_how_loud_a_massive_token_is():
    path, name = "model.layers.1.mlp.down_proj", "layers.1.ffn"
    found = []
    for times in (1e3, 1e5):
        tokens = collect(massive(build("llama"), path, times), long_inputs("llama")).sites[name].tokens
        found.append(tokens.scatter + tokens.weight * torch.outer(tokens.mean, tokens.mean))
    assert_close(*found, rtol=1e-9, atol=1e-9)


def test_statistics_do_not_depend_on_the_batches():
    model = massive(build("llama"), "model.layers.1.mlp.down_proj", 1e3)
    batches = long_inputs("llama")[:1]
    whole, parts = (collect(model, each).sites["layers.1.ffn"].tokens for each in (batches, split(batches)))
    assert_close(whole.scatter, parts.scatter, rtol=1e-9, atol=1e-9)


def losses(limit, monkeypatch):
    """Divergence after a cut that is compensated, and after its repair, with another limit."""
    for module in ("statistics.one_pass", "repairing.samples"):
        monkeypatch.setattr(sys.modules[f"infoprune.{module}"], "huber_weights", partial(huber_weights, limit=limit))
    model, batches = massive(build("llama"), "model.layers.0.mlp.down_proj", 1e3), long_inputs("llama")
    statistics = collect(model, batches)
    cut = apply_plan(model, allocate(rank(statistics, Random()), Keep(0.5)), statistics)
    repaired = repair(cut, model, batches, statistics=statistics)
    return [divergence(answers(model, batches), answers(each, batches)) for each in (cut, repaired)]


def test_a_massive_token_does_not_spoil_the_others(monkeypatch):
    with_limit, without = (losses(limit, monkeypatch) for limit in (LIMIT, math.inf))
    assert all(a < 0.85 * b for a, b in zip(with_limit, without, strict=True))
