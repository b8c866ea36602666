"""Statistics of parts become those of the whole, in memory and on disk, and sites in groups those of one pass."""

import gc
import tempfile
from functools import reduce
from itertools import pairwise

import pytest
import torch
from little_memory import little_memory
from test_collect import statistics_close
from tiny import logits_of, make_batches
from torch.testing import assert_close

from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.archive import load_statistics, save_statistics
from infoprune.statistics.collect import collect, collect_importance
from infoprune.statistics.merge import merge_statistics
from infoprune.statistics.on_disk import site_bytes
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import find_sites

LENGTHS = ((5, 9, 3, 6), (7, 4, 7), (12, 8, 9, 11), (4, 10), (6, 6, 13))


def all_close(found, expected):
    statistics_close(found, expected)
    assert (found.inputs, found.tokens) == (expected.inputs, expected.tokens)
    assert found.levels == pytest.approx(expected.levels)
    assert sorted(found.keys) == sorted(expected.keys)
    for name, site in expected.sites.items():
        assert found.sites[name].tokens.rows == site.tokens.rows
        importance = dict(zip(found.keys, found.importance[name], strict=True))
        for key, each in zip(expected.keys, expected.importance[name], strict=True):
            assert torch.equal(importance[key], each)


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("labels", [2, 20])
@pytest.mark.parametrize("stored", [False, True])
def test_any_split_of_the_inputs_gives_the_whole(make_tiny_bert, tmp_path, cuts, labels, stored):
    """With 20 classes answers are drawn: by what a batch holds, so that a split changes nothing."""
    model, batches = make_tiny_bert(torch.float64, num_labels=labels), make_batches(LENGTHS)
    edges = [0, *cuts, len(batches)]
    parts = [collect(model, batches[a:b]) for a, b in pairwise(edges)]
    if stored:
        for index, part in enumerate(parts):
            save_statistics(part, tmp_path / str(index))
        parts = [load_statistics(tmp_path / str(index)) for index in range(len(parts))]
    merged = merge_statistics(*parts)
    assert isinstance(merged.sites, dict) is not stored
    all_close(merged, collect(model, batches))
    all_close(merge_statistics(*parts[::-1]), collect(model, batches))
    assert merge_statistics(parts[0]) is parts[0]


def test_merging_leaves_the_parts_alone(tiny_bert64):
    parts = [collect(tiny_bert64, [batch]) for batch in make_batches()]
    before = [part.sites["layers.0.ffn"].covariance for part in parts]
    merge_statistics(*parts)
    assert all(torch.equal(a, b.sites["layers.0.ffn"].covariance) for a, b in zip(before, parts, strict=True))


def test_what_cannot_be_merged(make_tiny_bert):
    model, batches = make_tiny_bert(), make_batches()
    one = collect(model, batches)
    with pytest.raises(InputError, match=r"2 sites of a bert.*4 sites of a bert, expected the same sites"):
        merge_statistics(one, collect(model, batches, sites=find_sites(model, ["ffn"])))
    with pytest.raises(InputError, match=r"two models with other weights.*one checkpoint"):
        merge_statistics(one, collect(make_tiny_bert(seed=1), batches))
    with pytest.raises(
        InputError, match=r"smoothing 3 and shrinkage 0\.01, the others 1 and 0\.01.*collect all with the same settings"
    ):
        merge_statistics(one, collect(model, batches, smoothing=1.0))


def test_the_bytes_of_a_site_are_those_of_its_tensors(tiny_bert64):
    for site in collect(tiny_bert64, make_batches()).sites.values():
        tensors = [site.fisher, site.reader, site.produced, site.produced_sum]
        tensors += [t for moments in (site.tokens, site.importance) for t in (moments.mean, moments.triangle)]
        outputs, inputs = site.reader.shape
        assert site_bytes(outputs, inputs, site.site.units) == sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("labels", [2, 20])
def test_little_memory_gives_the_same_statistics_on_disk(make_tiny_bert, labels, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, batches = make_tiny_bert(torch.float64, num_labels=labels), make_batches(LENGTHS)
    seen = []
    step = lambda done, of: seen.append((done, of))  # noqa: E731
    found = collect(model, batches, memory=little_memory(model, batches)[0], progress=step)
    assert seen == [(number, 15) for number in range(1, 16)]  # states, then each of two layers
    assert list(found.sites) == [site.name for site in find_sites(model)]
    all_close(found, collect(model, batches))
    assert len(list(tmp_path.iterdir())) == 2
    del found
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_importance_from_layers_one_by_one_merges_with_that_of_a_repair(make_tiny_bert):
    """So augmented inputs join a repair under a memory limit; neither part has statistics of sites."""
    model, batches = make_tiny_bert(torch.float64), make_batches(LENGTHS)
    layers = [collect_importance(model, batches[2:], sites=[site]) for site in find_sites(model)]
    merged = merge_statistics(collect(model, batches[:2]).for_repair(), reduce(Statistics.joined, layers))
    expected = collect(model, batches)
    assert not merged.sites
    assert (merged.inputs, merged.tokens) == (expected.inputs, expected.tokens)
    for name, importance in expected.importance.items():
        for one, other in zip(merged.importance[name], importance, strict=True):
            assert_close(one, other)


def test_memory_that_cannot_be_limited(tiny_bert64):
    with pytest.raises(InputError, match=r"`memory` is 0 bytes.*1 GiB"):
        Settings(memory=0)
    with pytest.raises(InputError, match=r"refresh 'site' keeps the statistics of all sites.*refresh 'round'"):
        Settings(memory=10**9, refresh="site")
    with pytest.raises(InputError, match=r"'fan2021' keeps the statistics of all sites.*`criterion=information`"):
        prune(tiny_bert64, make_batches(), criterion=Fan2021(), settings=Settings(memory=10**9))


def test_given_statistics_stand_for_a_pass(tiny_bert64, tmp_path):
    batches = make_batches(LENGTHS)
    save_statistics(collect(tiny_bert64, batches), tmp_path / "statistics")
    stored = load_statistics(tmp_path / "statistics")
    for how in ({"keep": 0.5}, {"keep": 0.25, "structures": ("ffn",)}):
        expected = prune(tiny_bert64, batches, **how)
        found = prune(tiny_bert64, batches, statistics=stored, **how)
        assert found.plan == expected.plan
        assert_close(logits_of(found.model, batches), logits_of(expected.model, batches), rtol=1e-9, atol=1e-9)


def test_given_statistics_of_other_texts(tiny_bert64):
    """The units are chosen by the statistics, what is left is repaired on the batches."""
    batches, others = make_batches(LENGTHS), make_batches(LENGTHS, seed=3)
    statistics = collect(tiny_bert64, others)
    bare = prune(tiny_bert64, others, settings=Settings(repair=False))
    found = prune(tiny_bert64, batches, statistics=statistics, settings=Settings(augmentations=0))
    assert found.plan == bare.plan
    expected = repair(bare.model, tiny_bert64, batches)
    assert torch.equal(logits_of(found.model, batches), logits_of(expected, batches))
    with pytest.raises(InputError, match=r"of other batches.*pass those, or leave out `statistics`"):
        repair(bare.model, tiny_bert64, batches, statistics=statistics)


def test_given_statistics_that_do_not_do(make_tiny_bert):
    model, batches = make_tiny_bert(), make_batches()
    statistics = collect(model, batches, sites=find_sites(model, ["ffn"]))
    with pytest.raises(InputError, match=r"do not have layers\.0\.heads"):
        prune(model, batches, statistics=statistics)
    with pytest.raises(InputError, match="`statistics` were given, but criterion 'fan2021'"):
        prune(model, batches, statistics=statistics, criterion=Fan2021())
    with pytest.raises(InputError, match="with refresh 'site'"):
        prune(model, batches, keep=0.5, statistics=statistics, settings=Settings(refresh="site"))
    with pytest.raises(InputError, match=r"not of .* the weights of this model"):
        prune(make_tiny_bert(seed=1), batches, keep=0.5, structures=("ffn",), statistics=statistics)


def test_for_repair_is_that_of_all(tiny_bert64):
    batches = make_batches()
    expected, found = collect(tiny_bert64, batches), collect_importance(tiny_bert64, batches)
    assert found.sites == {}
    assert (found.levels, found.keys, found.tokens) == (expected.levels, expected.keys, expected.tokens)
    for name, each in expected.importance.items():
        assert all(torch.equal(a, b) for a, b in zip(found.importance[name], each, strict=True))
    one = expected.among([batches[1]])
    assert one.keys == expected.keys[1:]
    assert one.importance["layers.1.ffn"][0] is expected.importance["layers.1.ffn"][1]


def test_ranking_needs_no_model(tiny_bert64, tmp_path):
    statistics = collect(tiny_bert64, make_batches(LENGTHS))
    save_statistics(statistics, tmp_path / "s")
    expected, found = (
        rank(statistics, ChannelInformation()),
        rank(load_statistics(tmp_path / "s"), ChannelInformation()),
    )
    for name, ranking in expected.sites.items():
        assert torch.equal(found.sites[name].order, ranking.order)
        assert torch.equal(found.sites[name].losses, ranking.losses)
        assert ranking.site == found.sites[name].site


def test_extras_of_halves_are_those_of_the_whole(tiny_bert64):
    extras = {"masks", "activation_norm"}
    batches = make_batches()
    whole = collect(tiny_bert64, batches, extras=extras)
    halves = [collect(tiny_bert64, [batch], extras=extras) for batch in batches]
    for name, site in merge_statistics(*halves).sites.items():
        assert torch.equal(site.masks, whole.sites[name].masks)
        assert torch.allclose(site.activation_norm, whole.sites[name].activation_norm)
    bare = merge_statistics(halves[0], collect(tiny_bert64, batches[1:]))
    assert all(site.masks is None and site.activation_norm is None for site in bare.sites.values())
