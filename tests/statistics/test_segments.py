"""Collecting layer by layer, from kept states: the same statistics as of one graph."""

import pytest
import torch
from little_memory import little_memory
from torch.testing import assert_close
from zoo import FORMS, build, cast, inputs

from infoprune.statistics.collect import collect, collect_importance
from infoprune.structure.sites import find_sites


def assert_near(found, expected):
    # some norms compute in float32 whatever the model's precision
    assert_close(found, expected, rtol=0, atol=1e-7 * float(expected.abs().max()))


@pytest.mark.parametrize("model_type", FORMS)
def test_layers_one_by_one_give_the_statistics_of_all(model_type):
    model = build(model_type)
    batches = cast(inputs(model_type), torch.float64)
    whole = collect(model, batches)
    memory, count = little_memory(model, batches)
    found = collect(model, batches, memory=memory)
    if not any(site.shared for site in find_sites(model)):
        assert count > 1
    assert list(found.sites) == list(whole.sites)
    for name, site in whole.sites.items():
        for kind in ("tokens", "importance"):
            one, other = getattr(site, kind), getattr(found.sites[name], kind)
            assert_near(other.covariance, one.covariance)
            assert_near(other.mean, one.mean)
        assert_near(found.sites[name].fisher, site.fisher)
        for one, other in zip(whole.importance[name], found.importance[name], strict=True):
            assert_close(other, one)
    alone = collect_importance(model, batches, memory=memory)
    assert (found.inputs, found.tokens) == (whole.inputs, whole.tokens)
    for levels in (found.levels, alone.levels):
        assert_close(levels, whole.levels, rtol=1e-6, atol=0)
