"""Laws of measured losses; the oracle is the cut of one site, made by hand."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close
from zoo import build

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.budgets.measured import BATCHES as MOST
from infoprune.budgets.measured import PASSES, batches_to_measure, measured
from infoprune.methods.apply import choose
from infoprune.methods.table import METHODS
from infoprune.pipeline.prune import prune
from infoprune.plan import Plan
from infoprune.ranking.criteria import ChannelInformation, Magnitude
from infoprune.ranking.rank import rank
from infoprune.statistics.collect import collect
from infoprune.surgery import apply_plan

IDS = torch.randint(5, 100, (24, 9), generator=torch.Generator().manual_seed(3))
BATCHES = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in IDS.split(6)]


def ranked(auto, criterion=None):
    model = build("bert", auto=auto)
    statistics = collect(model, BATCHES)
    return model, statistics, rank(statistics, criterion or ChannelInformation())


def embeddings(model):
    with torch.no_grad():
        return normalize(model(input_ids=IDS).last_hidden_state.mean(1), dim=-1)


def test_half_of_a_site_loses_what_its_cut_costs():
    model, statistics, rankings = ranked("AutoModel")
    calls = []
    found = measured(rankings, model, statistics, BATCHES, progress=lambda done, of: calls.append((done, of)))
    assert list(found.sites) == list(rankings.sites)
    assert calls == [(site, len(rankings.sites)) for site in range(1, len(rankings.sites) + 1)]
    for name, ranking in found.sites.items():
        units, before = ranking.site.units, rankings.sites[name]
        assert torch.equal(ranking.order, before.order)
        kept = tuple(sorted(ranking.order[units // 2 :].tolist()))
        small = apply_plan(model, Plan("bert", {name: units}, {name: kept}, "hand", 0), statistics)
        cost = (embeddings(small) - embeddings(model)).square().sum(1).mean() / 2
        assert_close(ranking.lost[units // 2], cost.to(ranking.losses), rtol=1e-4, atol=1e-9)
        share = ranking.losses / before.losses
        assert_close(share, share[:1].expand_as(share), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("auto", "criterion"), [("AutoModelForSequenceClassification", None), ("AutoModel", Magnitude())]
)
def test_other_answers_and_other_losses_stay(auto, criterion):
    model, statistics, rankings = ranked(auto, criterion)
    assert measured(rankings, model, statistics, BATCHES) is rankings


def test_a_budget_goes_by_them_in_every_way_to_cut():
    model, statistics, rankings = ranked("AutoModel")
    budget, costs = Budget("flops", 0.5), find_costs(model, "flops", BATCHES)
    plan = allocate(measured(rankings, model, statistics, BATCHES), budget, costs)
    assert plan.kept != allocate(rankings, budget, costs).kept, "or this shows nothing"
    assert prune(model, BATCHES, budget=budget).plan.kept == plan.kept
    assert choose(METHODS["information"], model, BATCHES, statistics, budget, costs).kept == plan.kept
    even = replace(budget, allocation="uniform")
    assert prune(model, BATCHES, budget=even).plan.kept == allocate(rankings, even, costs).kept
    assert prune(model, BATCHES, keep=0.5).plan.kept == allocate(rankings, Keep(0.5)).kept


@pytest.mark.parametrize("batches", [1, 2, 32, 100])
@pytest.mark.parametrize("sites", [1, 12, 24, 96])
def test_more_sites_are_measured_on_fewer_batches(batches, sites):
    some = batches_to_measure([{"input_ids": torch.tensor([number])} for number in range(batches)], sites)
    assert 1 <= len(some) <= MOST
    assert len(some) == 1 or len(some) * sites <= PASSES * batches
