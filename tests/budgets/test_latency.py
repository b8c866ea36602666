import pytest
import torch
from torch.testing import assert_close

from infoprune.budgets.costs import find_costs
from infoprune.budgets.latency import TimeTable
from infoprune.measuring.measure import example_batch
from infoprune.structure.sites import find_sites

WIDE = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 1024, "num_hidden_layers": 2}


def test_between_the_timed_sizes_lies_a_straight_line(tiny_bert):
    site = find_sites(tiny_bert, ["ffn"])[0]
    curve = TimeTable(1.0, {"ffn": (8, 16, 64)}, {"ffn": (0.0, 2.0, 5.0)}).curve(site)
    assert curve.shape == (65,)
    assert_close(curve[[0, 8, 10, 12, 16, 40, 64]], torch.tensor([0, 0, 0.5, 1, 2, 3.5, 5]).double())


def test_the_line_never_falls_where_times_are_equal(tiny_bert):
    site = find_sites(tiny_bert, ["ffn"])[0]
    sampled = torch.rand(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for times in sampled.pow(3).sort().values:  # powers, so that sums of them are rounded
        less, more = times.tolist()
        curve = TimeTable(1.0, {"ffn": (8, 16, 24, 64)}, {"ffn": (0.0, less, more, more)}).curve(site)
        assert (curve.diff() >= 0).all()


def test_one_size_costs_nothing_more(tiny_bert):
    site = find_sites(tiny_bert, ["heads"])[0]
    assert TimeTable(1.0, {"heads": (1,)}, {"heads": (0.0,)}).curve(site).tolist() == [0.0] * 5


@pytest.fixture
def wide(make_tiny_bert):
    return make_tiny_bert(**WIDE)


@pytest.fixture
def batches(wide):
    return [example_batch(wide.config, 8, 48)]


def test_the_table_ends_at_the_times_of_the_whole_models(wide, batches):
    costs = find_costs(wide, "latency", batches, multiple=64)
    assert 0 < costs.least < costs.dense
    for name, curve in costs.sites.items():
        assert (curve.diff() >= 0).all()
        assert curve[costs.sizes[name][0]] == 0
    assert costs.rest == pytest.approx(costs.least)
    ffn = sum(float(curve[-1]) for name, curve in costs.sites.items() if name.endswith("ffn"))
    assert ffn > 0.5 * (costs.dense - costs.least)  # 1,024 neurons against 4 heads of 16


def test_a_table_is_remembered(wide, batches):
    first, again = (find_costs(wide, "latency", batches, multiple=64) for _ in range(2))
    assert all(torch.equal(first.sites[name], again.sites[name]) for name in first.sites)
    other = find_costs(wide, "latency", [example_batch(wide.config, 8, 8)], multiple=64)
    assert other.dense < first.dense


def test_the_model_is_left_as_it_was(wide, batches):
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    wide.train()
    find_costs(wide, "latency", batches, multiple=128)
    assert wide.training
    assert all(torch.equal(before[name], tensor) for name, tensor in wide.state_dict().items())
    assert [site.units for site in find_sites(wide)] == [4, 1024] * 2
