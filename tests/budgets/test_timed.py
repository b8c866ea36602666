from dataclasses import replace

import pytest
import torch

import infoprune.pipeline.size_schedule
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.timed import as_timed, time_share
from infoprune.measuring.measure import Latency, count_flops, example_batch
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.structure.sites import find_sites
from infoprune.surgery import outline


def costs_of(curve):
    """The table of two sites."""
    return Costs("latency", (8, 48), 10.0, {"a": curve, "b": curve}, {"a": tuple(range(101)), "b": tuple(range(101))})


def sizes(limit):
    """What a budget leaves of both, by a table that says one millisecond for each unit and ten for the rest."""
    return {"a": int((limit - 10) / 2), "b": int((limit - 10) / 2)}


@pytest.mark.parametrize("wrong", [0.5, 0.8, 1.0, 1.2, 1.6])
def test_a_table_that_is_wrong_is_set_right_by_timing_what_it_proposes(wrong):
    """The units take more, or less, beside the rest than the table says."""
    costs = costs_of(torch.arange(101, dtype=torch.float64))

    def truth(counts):
        return (10 + wrong * sum(counts.values())) / (10 + wrong * 200)

    for share in (0.75, 0.5, 0.3):
        found = as_timed(sizes, share * costs.dense, costs, truth)
        assert truth(found) == pytest.approx(share, rel=0.05)


def test_a_plan_that_is_right_is_timed_once():
    costs, asked = costs_of(torch.arange(101, dtype=torch.float64)), []

    def timed(counts):
        asked.append(counts)
        return 0.51

    assert as_timed(sizes, 105.0, costs, timed) == sizes(105.0) == asked[0]
    assert len(asked) == 1


def test_of_plans_that_all_miss_the_nearest_is_taken():
    """Noise: the second is timed nearest, however the table was asked for it."""
    costs, times = costs_of(torch.arange(101, dtype=torch.float64)), [0.7, 0.55, 0.4]
    asked = []

    def timed(counts):
        asked.append(counts)
        return times[len(asked) - 1]

    assert as_timed(sizes, 105.0, costs, timed) == asked[1]
    assert len(asked) == 3


def test_the_table_is_never_asked_for_less_than_the_least():
    costs = costs_of(torch.arange(101, dtype=torch.float64))
    asked = []

    def least_or_more(limit):
        asked.append(limit)
        return sizes(limit)

    as_timed(least_or_more, 12.0, costs, lambda counts: 5.0)
    as_timed(least_or_more, 200.0, costs, lambda counts: 0.01)
    assert min(asked) >= costs.least
    assert max(asked) <= costs.dense


@pytest.fixture
def wide(make_tiny_bert):
    return make_tiny_bert(hidden_size=64, num_attention_heads=4, intermediate_size=1024, num_hidden_layers=2)


def test_the_share_is_that_of_a_model_of_these_sizes_on_a_batch_of_this_shape(monkeypatch, wide):
    """A clock that counts FLOPs, since others may use this machine."""

    def clock(models, batch, **_):
        assert batch["input_ids"].shape == (8, 48)
        flops = [float(count_flops(model, batch)) for model in models]
        return [Latency(each, each, each) for each in flops]

    monkeypatch.setattr("infoprune.budgets.timed.measure_latency", clock)
    batch = example_batch(wide.config, 8, 48)
    counts = {site.name: 8 for site in find_sites(wide, ["ffn"])}
    share = count_flops(outline(wide, counts), batch) / count_flops(wide, batch)
    assert time_share(wide, (8, 48), {}) == 1.0
    assert time_share(wide, (8, 48), counts) == pytest.approx(share)
    assert share < 0.5


def test_a_budget_of_latency_is_timed_at_its_last_part_alone(monkeypatch, tiny_bert):
    def table(model, quantity, batches, **how):
        return replace(find_costs(model, "flops", batches, **how), quantity=quantity)

    timed, batches = [], [example_batch(tiny_bert.config, 16, 12)]
    monkeypatch.setattr(infoprune.pipeline.size_schedule, "find_costs", table)
    monkeypatch.setattr(infoprune.pipeline.size_schedule, "time_share", lambda *given: timed.append(given[-1]) or 0.6)
    how = Settings(rounds=2, repair=False)
    plan = prune(tiny_bert, batches, budget=Budget("latency", 0.6), settings=how).plan
    assert timed == [{name: kept for name, (kept, _) in plan.counts.items()}]
    prune(tiny_bert, batches, budget=Budget("flops", 0.6), settings=how)
    assert len(timed) == 1
