import math

import pytest
import torch
from tiny import captured, logits_of, make_batches, site_named, split
from torch.nn.functional import normalize
from torch.testing import assert_close
from zoo import build

from infoprune.errors import InputError
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import WIDEST, collect_pairs
from infoprune.statistics.moments import Moments
from infoprune.statistics.pairs import Pairing
from infoprune.structure.sites import find_sites

EVERY = Pairing("logits", None, math.inf)
BATCHES = make_batches(((7, 12, 9), (5, 8)))
ABOVE = {"layers.0.heads": "layers.0.ffn", "layers.0.ffn": "layers.1.heads", "layers.1.heads": "layers.1.ffn"}


def paired(model, pairing=EVERY, batches=BATCHES, **options):
    return collect_pairs(model, batches, collect(model, batches), pairing, **options)


def inputs_of(model, name, batches=BATCHES):
    """What a site's reader reads at every real token, text by text."""
    with captured(model, site_named(model, name).reader) as calls:
        logits_of(model, split(batches))
    return [x[0] for x, _ in calls]


def tokens_of(model, name, batches=BATCHES):
    """Real tokens of a site beside what stands above them, text by text: rows (x, y)."""
    below = inputs_of(model, name, batches)
    if name in ABOVE:
        above = inputs_of(model, ABOVE[name], batches)
    else:
        logits = logits_of(model, split(batches))
        above = [row.expand(len(x), -1) for row, x in zip(logits, below, strict=True)]
    return torch.cat([torch.cat(pair, 1) for pair in zip(below, above, strict=True)])


@pytest.mark.parametrize("smoothing", [0.0, 3.0, math.inf])
def test_moments_are_those_of_tokens_side_by_side(tiny_bert64, smoothing):
    statistics = paired(tiny_bert64, Pairing("logits", None, smoothing))
    singles = collect(tiny_bert64, split(BATCHES))
    for site in find_sites(tiny_bert64):
        pairs = statistics.sites[site.name].pairs
        assert (pairs.above and pairs.above.name) == ABOVE.get(site.name)
        rows = tokens_of(tiny_bert64, site.name)
        importance = torch.cat([w.flatten() for w in singles.importance[site.name]]).double()
        weights = torch.ones(41).double() if math.isinf(smoothing) else importance / importance.mean() + smoothing
        assert (pairs.here, pairs.upper) == (site.units * site.size, rows.shape[1] - site.units * site.size)
        assert_close(pairs.joint.mean, weights @ rows / weights.sum(), rtol=1e-6, atol=1e-8)
        expected = torch.cov(rows.T, correction=0, aweights=weights)
        assert_close(pairs.joint.covariance, expected, rtol=1e-6, atol=1e-8)


def test_neither_batches_nor_padding_matter(tiny_bert64):
    a, b = paired(tiny_bert64), paired(tiny_bert64, batches=split(BATCHES))
    for name in a.sites:
        assert_close(a.sites[name].pairs.joint.covariance, b.sites[name].pairs.joint.covariance)


def labelled(classes):
    return [{**b, "labels": torch.tensor(c)} for b, c in zip(BATCHES, classes, strict=True)]


def test_labels_stand_on_top_as_indicators(make_tiny_bert):
    model = make_tiny_bert(torch.float64, num_labels=3)
    batches = labelled([[2, 0, 1], [1, 2]])
    pairs = paired(model, Pairing("labels", 1000, math.inf), batches).sites["layers.1.ffn"].pairs
    assert (pairs.above, pairs.upper, pairs.size) == (None, 2, 1)
    told = (pairs.joint[:, pairs.here :] * torch.tensor([1, 2])).sum(1)
    counts = [int((told == label).sum()) for label in range(3)]
    assert counts == [12, 9 + 5, 7 + 8]  # tokens of the texts with each label
    with pytest.raises(InputError, match="have no labels, expected one class number"):
        paired(model, Pairing("labels", None, 1.0))
    with pytest.raises(InputError, match=r"labels of shape \(3, 2\)"):
        paired(model, Pairing("labels", None, 1.0), labelled([[[1, 0]] * 3, [[1, 0]] * 2]))


def test_drawn_tokens_are_real_ones_and_each_comes_once(tiny_bert):
    for name, statistics in paired(tiny_bert, Pairing("logits", 20, 3.0)).sites.items():
        sampled, rows = statistics.pairs.joint, tokens_of(tiny_bert, name)
        assert sampled.shape == (20, rows.shape[1])
        nearest = torch.cdist(sampled, rows).argmin(1)
        assert_close(sampled, rows[nearest], rtol=1e-4, atol=1e-5)
        assert len(set(nearest.tolist())) == 20


def test_of_few_tokens_all_are_drawn(tiny_bert):
    pairs = paired(tiny_bert, Pairing("logits", 999, 3.0)).sites["layers.0.ffn"].pairs
    assert len(pairs.joint) == 41


def test_without_a_floor_the_head_of_a_classifier_sees_the_first_tokens(tiny_bert):
    pairs = paired(tiny_bert, Pairing("logits", 999, 0.0)).sites["layers.1.ffn"].pairs
    first = torch.stack([x[0] for x in inputs_of(tiny_bert, "layers.1.ffn")])
    assert_close(pairs.joint[:, : pairs.here].sort(0).values, first.sort(0).values, rtol=1e-4, atol=1e-5)


def test_the_seed_decides_the_draw(tiny_bert):
    pairing = Pairing("logits", 20, 3.0)
    a, b, c = (paired(tiny_bert, pairing, seed=s).sites["layers.0.ffn"].pairs.joint for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_site_above_need_not_be_among_those_collected(tiny_bert):
    some = collect(tiny_bert, BATCHES, sites=find_sites(tiny_bert, ["ffn"]))
    statistics = collect_pairs(tiny_bert, BATCHES, some, EVERY)
    assert list(statistics.sites) == ["layers.0.ffn", "layers.1.ffn"]
    assert statistics.sites["layers.0.ffn"].pairs.above.name == "layers.1.heads"


def test_preserved_units_are_whole_blocks(tiny_bert):
    pairs = paired(tiny_bert).sites["layers.0.ffn"].pairs  # four heads of eight coordinates above 64 neurons
    chosen = pairs.preserving([3, 1]).chosen(torch.device("cpu"))
    assert chosen.tolist() == [*range(64), *range(64 + 8, 64 + 16), *range(64 + 24, 64 + 32)]
    assert pairs.chosen(torch.device("cpu")).tolist() == list(range(64 + 32))


def test_the_model_is_left_as_it_was(tiny_bert):
    tiny_bert.train()
    tiny_bert.bert.encoder.layer[0].eval()
    modes = [module.training for module in tiny_bert.modules()]
    seen = []
    statistics = paired(tiny_bert, progress=lambda done, of: seen.append((done, of)))
    assert [module.training for module in tiny_bert.modules()] == modes
    assert not any(module._forward_pre_hooks for module in tiny_bert.modules())
    assert seen == [(1, 2), (2, 2)]
    assert isinstance(statistics.sites["layers.0.ffn"].pairs.joint, Moments)


def test_too_many_logits(make_tiny_bert):
    model = make_tiny_bert(num_labels=WIDEST + 1)
    with pytest.raises(InputError, match="has 1025 logits, expected at most 1024"):
        paired(model)


@pytest.mark.parametrize(("auto", "wide"), [("AutoModel", 48), ("AutoModelForQuestionAnswering", 2)])
def test_answers_that_are_no_logits_of_classes(auto, wide):
    model = build("bert", auto=auto, num_labels=2)
    top = paired(model).sites["layers.1.ffn"].pairs
    rows = []
    with torch.no_grad():
        for one in split(BATCHES):
            output = model(**one)
            if wide == 2:  # where an answer starts and ends, at every token
                rows.append(torch.stack([output.start_logits[0], output.end_logits[0]], 1))
            else:
                states = output.last_hidden_state[0]
                rows.append(normalize(states.mean(0), dim=0).expand(len(states), -1))
    expected = torch.cat(rows)
    assert top.upper == wide
    assert_close(top.joint.mean[-wide:], expected.mean(0), rtol=1e-6, atol=1e-8)
    assert_close(top.joint.covariance[-wide:, -wide:], torch.cov(expected.T, correction=0), rtol=1e-6, atol=1e-8)
