import math
from dataclasses import replace

import pytest
import torch
from tiny import captured, divergence, logits_of, make_batches, normal, shifted, split
from torch.testing import assert_close

from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites


def fisher_by_hand(model, single, path):
    """The Fisher information of every token at the output of a module, for one input: (length, o, o)."""
    length, outputs = single["input_ids"].shape[1], model.get_submodule(path).out_features

    def log_probabilities(shift):
        with shifted(model, path, shift):
            return model(**single).logits[0].log_softmax(-1)

    zero = torch.zeros(length, outputs, dtype=torch.float64)
    gradients = torch.autograd.functional.jacobian(log_probabilities, zero)  # (classes, length, o)
    p = log_probabilities(zero).exp().detach()
    return torch.einsum("c,cti,ctj->tij", p, gradients, gradients)


def statistics_close(a, b, tolerance=1e-10):
    for name, one in a.sites.items():
        other = b.sites[name]
        for field in ("fisher", "covariance", "reader", "produced"):
            assert_close(getattr(one, field), getattr(other, field), rtol=tolerance, atol=tolerance)
        assert_close(one.moments.mean, other.moments.mean, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("labels", [2, 3])
def test_demand_is_the_fisher_information(make_tiny_bert, labels):
    model, batches = make_tiny_bert(torch.float64, num_labels=labels), make_batches()
    statistics = collect(model, batches)
    singles = split(batches)
    for site in find_sites(model):
        by_hand = [fisher_by_hand(model, single, site.reader) for single in singles]
        expected = torch.stack([each.sum(0) for each in by_hand]).mean(0)
        assert_close(statistics.sites[site.name].fisher, expected, rtol=1e-9, atol=1e-16)
        importance = torch.cat(
            [w[w_mask] for w, w_mask in zip(statistics.importance[site.name], masks(batches), strict=True)]
        )
        traces = torch.cat([each.diagonal(dim1=1, dim2=2).sum(1) for each in by_hand])
        assert_close(importance.double(), traces, rtol=1e-5, atol=1e-12)


def masks(batches):
    return [batch["attention_mask"].bool() for batch in batches]


def test_half_of_the_demand_is_the_divergence_of_a_small_shift(tiny_bert64):
    batches = make_batches()
    singles = split(batches)
    statistics = collect(tiny_bert64, batches)
    for site in find_sites(tiny_bert64):
        x = 1e-3 * normal(32, seed=len(site.name))
        total = 0.0
        for single in singles:
            dense = logits_of(tiny_bert64, [single])
            length = single["input_ids"].shape[1]
            for token in range(length):  # one token of one input at a time
                one = torch.zeros(length, 32, dtype=torch.float64)
                one[token] = x
                for sign in (1, -1):
                    with shifted(tiny_bert64, site.reader, sign * one):
                        total += divergence(dense, logits_of(tiny_bert64, [single])) / 2
        predicted = float(x @ statistics.sites[site.name].fisher @ x) / 2
        assert total / len(singles) == pytest.approx(predicted, rel=1e-3)


def test_drawn_demand_is_unbiased(make_tiny_bert):
    model, batches = make_tiny_bert(torch.float64, num_labels=20), make_batches(((4, 5), (3,)))
    sampled = collect(model, batches, fisher_samples=400).sites["layers.1.ffn"].fisher
    by_hand = [fisher_by_hand(model, single, "bert.encoder.layer.1.output.dense") for single in split(batches)]
    expected = torch.stack([each.sum(0) for each in by_hand]).mean(0)
    assert float((sampled - expected).norm() / expected.norm()) < 0.15
    again = collect(model, batches, fisher_samples=400).sites["layers.1.ffn"].fisher
    assert torch.equal(sampled, again)


@pytest.mark.parametrize("smoothing", [0.0, 3.0, math.inf])
def test_moments_are_those_of_the_real_tokens(tiny_bert64, smoothing):
    batches = make_batches()
    statistics = collect(tiny_bert64, batches, smoothing=smoothing, shrinkage=0.0)
    assert (statistics.inputs, statistics.tokens) == (7, 41)
    for site in find_sites(tiny_bert64):
        with captured(tiny_bert64, site.reader) as calls:
            logits_of(tiny_bert64, split(batches))
        x = torch.cat([inputs[0] for inputs, _ in calls])
        importance = torch.cat([fisher_by_hand(tiny_bert64, s, site.reader) for s in split(batches)])
        importance = importance.diagonal(dim1=1, dim2=2).sum(1)
        weights = torch.ones(41).double() if math.isinf(smoothing) else importance / importance.mean() + smoothing
        mean = weights @ x / weights.sum()
        found = statistics.sites[site.name]
        assert_close(found.moments.mean, mean, rtol=1e-8, atol=1e-10)
        assert_close(found.covariance, torch.cov(x.T, correction=0, aweights=weights), rtol=1e-8, atol=1e-10)
        assert_close(found.tokens.covariance, torch.cov(x.T, correction=0))


def test_shrinkage_is_a_share_of_the_mean_variance(tiny_bert64):
    statistics = collect(tiny_bert64, make_batches(), shrinkage=0.5).sites["layers.0.ffn"]
    bare = replace(statistics, shrinkage=0.0).covariance
    expected = bare + 0.5 * bare.diagonal().mean() * torch.eye(64).double()
    assert_close(statistics.covariance, expected)


def test_neither_batches_nor_padding_matter(tiny_bert64):
    batches = make_batches()
    expected = collect(tiny_bert64, split(batches))
    statistics_close(collect(tiny_bert64, batches), expected)
    statistics_close(collect(tiny_bert64, batches[::-1]), expected)
    wide = []
    for batch in batches:
        pad = torch.zeros(len(batch["input_ids"]), 4, dtype=torch.long)
        wide.append({name: torch.cat([value, pad + 7 * (name == "input_ids")], 1) for name, value in batch.items()})
    statistics_close(collect(tiny_bert64, wide), expected)


def test_without_a_mask_every_token_is_real(tiny_bert64):
    single = split(make_batches())
    bare = [{"input_ids": batch["input_ids"]} for batch in single]
    statistics_close(collect(tiny_bert64, bare), collect(tiny_bert64, single))


def test_labels_are_ignored(tiny_bert64):
    batches = make_batches()
    labelled = [{**batch, "labels": torch.zeros(len(batch["input_ids"]), dtype=torch.long)} for batch in batches]
    statistics_close(collect(tiny_bert64, labelled), collect(tiny_bert64, batches), 0)


def test_sites_may_be_chosen_and_joined(tiny_bert64):
    batches = make_batches()
    every = collect(tiny_bert64, batches)
    parts = [
        collect(tiny_bert64, batches, sites=find_sites(tiny_bert64, [structure])) for structure in ("ffn", "heads")
    ]
    assert set(parts[0].sites) == {"layers.0.ffn", "layers.1.ffn"}
    joined = parts[0].joined(parts[1])
    assert joined.sites.keys() == joined.importance.keys() == every.sites.keys()
    statistics_close(every, joined)
    other = collect(tiny_bert64, make_batches(seed=1))
    assert other.joined(every).sites["layers.0.ffn"] is other.sites["layers.0.ffn"]


def test_progress_counts_batches(tiny_bert):
    seen = []
    collect(tiny_bert, make_batches(), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 2), (2, 2)]
