from itertools import combinations

import pytest
import torch
from tiny import make_batches, normal, split, spread
from torch.testing import assert_close

from infoprune.ranking.criteria import extras_of
from infoprune.ranking.kwon import Kwon, mask_fisher, rearrange
from infoprune.statistics.collect import collect

BATCHES = make_batches()


@pytest.mark.parametrize("labels", [2, 4])
def test_fisher_is_that_of_the_models_own_prediction(make_tiny_bert, labels):
    model = make_tiny_bert(dtype=torch.float64, num_labels=labels, intermediate_size=6)
    site = collect(model, BATCHES, extras=extras_of(Kwon())).sites["layers.1.ffn"]
    fisher = torch.zeros(6, 6, dtype=torch.float64)
    texts = split(BATCHES)
    for text in texts:
        factor = torch.ones(6, dtype=torch.float64, requires_grad=True)
        handle = model.get_submodule(site.site.reader).register_forward_pre_hook(lambda _, x, m=factor: (x[0] * m,))
        chances = model(**text).logits[0].log_softmax(-1)
        handle.remove()
        for chance in chances:
            gradient = torch.autograd.grad(chance, factor, retain_graph=True)[0]
            fisher += chance.exp().detach() * torch.outer(gradient, gradient) / len(texts)
    assert_close(mask_fisher(site), fisher, rtol=1e-5, atol=1e-9)
    losses = Kwon().rank_site(site, torch.Generator()).losses
    assert_close(losses, fisher.diagonal().sort().values / 2, rtol=1e-5, atol=1e-9)


def lost_together(fisher, kept):
    going = [i for i in range(len(fisher)) if i not in kept]
    return float(fisher[going][:, going].sum())


@pytest.mark.parametrize("kept", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(8))
def test_rearranging_six_units(seed, kept):
    """Never worse than what it starts from, never better than the best of all masks, and mostly equal to it."""
    fisher = spread(6, seed=seed, samples=8)
    found = lost_together(fisher, rearrange(fisher, kept))
    masks = {each: lost_together(fisher, each) for each in combinations(range(6), kept)}
    start = tuple(sorted(fisher.diagonal().argsort()[6 - kept :].tolist()))
    assert min(masks.values()) - 1e-12 <= found <= masks[start] + 1e-12


def test_rearranging_finds_the_best_mask_more_often_than_the_search_alone():
    hits = starts = 0
    for seed in range(40):
        fisher = spread(6, seed=seed, samples=8)
        masks = {each: lost_together(fisher, each) for each in combinations(range(6), 3)}
        best = min(masks, key=masks.get)
        hits += rearrange(fisher, 3) == best
        starts += tuple(sorted(fisher.diagonal().argsort()[3:].tolist())) == best
    assert hits > starts
    assert hits >= 30


def test_opposites_go_together():
    """Unit 1 matters most alone, but what it says the other way round unit 0 says too."""
    u, v = torch.linalg.qr(normal(50, 2)).Q.T
    gradients = torch.stack([u, -1.1 * u, 1.05 * v], 1)
    assert rearrange(gradients.T @ gradients, 1) == (2,)


def test_nothing_to_choose():
    fisher = spread(4)
    assert rearrange(fisher, 4) == (0, 1, 2, 3)
