"""Collecting layer by layer, from kept states: the same statistics as of one graph."""

import resource
import shutil
import tempfile
from collections import namedtuple
from dataclasses import fields

import pytest
import torch
from little_memory import little_memory
from torch.testing import assert_close
from zoo import FORMS, build, cast, inputs

from infoprune.errors import InputError
from infoprune.statistics.collect import collect, collect_importance
from infoprune.structure.sites import find_sites


def assert_near(found, expected):
    # some norms compute in float32 whatever the model's precision
    assert_close(found, expected, rtol=0, atol=1e-7 * float(expected.abs().max()) if expected.numel() else 0)


@pytest.mark.parametrize("model_type", FORMS)
def test_layers_one_by_one_give_the_statistics_of_all(model_type):
    model = build(model_type)
    batches = cast(inputs(model_type), torch.float64)
    whole = collect(model, batches)
    memory, count = little_memory(model, batches)
    found = collect(model, batches, memory=memory)
    if not any(site.shared or site.routing for site in find_sites(model)):
        assert count > 1
    assert list(found.sites) == list(whole.sites)
    for name, site in whole.sites.items():
        for kind in ("tokens", "importance"):
            one, other = getattr(site, kind), getattr(found.sites[name], kind)
            assert_near(other.covariance, one.covariance)
            assert_near(other.mean, one.mean)
        assert_near(found.sites[name].fisher, site.fisher)
        if site.routes is not None:
            for field in fields(site.routes):
                one, other = (getattr(each.routes, field.name) for each in (site, found.sites[name]))
                assert_near(other, one) if isinstance(one, torch.Tensor) and one.is_floating_point() else None
        for one, other in zip(whole.importance[name], found.importance[name], strict=True):
            assert_close(other, one)
    alone = collect_importance(model, batches, memory=memory)
    assert (found.inputs, found.tokens) == (whole.inputs, whole.tokens)
    for levels in (found.levels, alone.levels):
        assert_close(levels, whole.levels, rtol=1e-6, atol=0)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("room", "what"), [(100, "states of the layers"), (20_000, "statistics")])
def test_a_disk_that_fills_is_told_in_one_line_and_nothing_is_left(tiny_bert, temporary, room, what):
    batches = inputs("bert")
    memory, _ = little_memory(tiny_bert, batches)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(InputError, match=rf"the {what} do not fit into {temporary} .*set TMPDIR to a folder"):
            collect(tiny_bert, batches, memory=memory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [*temporary.iterdir()]


def test_the_room_that_is_asked_for_is_enough_and_hardly_more(tiny_bert, temporary, monkeypatch):
    batches, taken = inputs("bert"), []
    memory, _ = little_memory(tiny_bert, batches)

    def look(*_):
        taken.append(sum(file.stat().st_size for file in temporary.rglob("*.safetensors")))

    collect(tiny_bert, batches, memory=memory, progress=look)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1))
    with pytest.raises(InputError, match="set TMPDIR") as refusal:
        collect(tiny_bert, batches, memory=memory)
    asked = int(str(refusal.value).split(" take ")[1].split(" bytes")[0].replace(",", ""))
    assert 0.8 * max(taken) < asked < 2.5 * max(taken)
