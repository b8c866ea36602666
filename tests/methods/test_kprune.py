"""Laws of K-prune; the oracles differentiate a divergence and follow the sites one by one by hand."""

import math

import pytest
import torch
from tiny import make_batches
from torch.testing import assert_close

from infoprune.budgets.budget import Keep
from infoprune.errors import InputError
from infoprune.methods.apply import collect_for
from infoprune.methods.kprune import KPrune, prune_knowing, rank_by_knowledge
from infoprune.methods.table import METHODS
from infoprune.plan import Plan
from infoprune.repairing.repair import repair
from infoprune.statistics.calibration import real_tokens
from infoprune.structure.linear import linear
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

BATCHES = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 6)


def half(model):
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(0, n, 2)) for name, n in units.items()}
    return Plan("bert", units, kept, "hand", 0)


@pytest.mark.parametrize("labels", [1, 3])
def test_knowledge_by_differentiating_a_divergence(make_tiny_bert, labels):
    """The gradients of T^2 KL at temperature T between dense and pruned, text by text, with factors put in by hooks."""
    dense = make_tiny_bert(dtype=torch.float64, num_labels=labels)
    small = apply_plan(dense, half(dense))
    method = KPrune(predictive=2.0, representational=0.3, heads=5.0, temperature=1.5)
    names = [site.name for site in find_sites(small)][2:]
    found = rank_by_knowledge(small, dense, BATCHES, names, method)
    assert list(found.sites) == names
    for name in names:
        site = found.sites[name].site
        reader = linear(small, site.reader).weight
        squares, norms, texts, tokens = (
            torch.zeros(reader.shape[1]).double(),
            torch.zeros(reader.shape[1]).double(),
            0,
            0,
        )
        for batch in BATCHES:
            for row in range(len(batch["input_ids"])):
                text = {key: value[row : row + 1] for key, value in batch.items()}
                factor = torch.ones(reader.shape[1], dtype=torch.float64, requires_grad=True)
                seen = []
                handle = small.get_submodule(site.reader).register_forward_pre_hook(
                    lambda _, x, m=factor, s=seen: (s.append(x[0].detach()), (x[0] * m,))[1]
                )
                theirs, ours = dense(**text).logits.detach() / 1.5, small(**text).logits / 1.5
                handle.remove()
                if labels == 1:
                    gap = (1.5 * (ours - theirs)).square().sum() / 2
                else:
                    p = theirs.softmax(-1)
                    gap = 1.5**2 * (p * (p.log() - ours.log_softmax(-1))).sum()
                squares += torch.autograd.grad(gap, factor)[0].square()
                real = real_tokens(text)[0]
                norms += seen[0][0][real].square().sum(0)
                texts, tokens = texts + 1, tokens + int(real.sum())
        score = 2.0 * squares / texts / 2 + 0.3 * norms / tokens * reader.square().mean(0)
        score = score.reshape(site.units, site.size).mean(1) * (1 if site.structure == "ffn" else 5.0)
        assert_close(found.sites[name].losses, score.sort().values, rtol=1e-6, atol=1e-12)


def test_what_the_dense_model_answers_may_be_remembered(tiny_bert64, monkeypatch):
    names, small = [site.name for site in find_sites(tiny_bert64)], apply_plan(tiny_bert64, half(tiny_bert64))
    known: dict = {}
    asked = rank_by_knowledge(small, tiny_bert64, BATCHES, names, KPrune())
    first, again = (rank_by_knowledge(small, tiny_bert64, BATCHES, names, KPrune(), known) for _ in range(2))
    for other in (asked, again):
        assert all(torch.equal(first.sites[name].losses, other.sites[name].losses) for name in names)
    assert set(known) == set(range(len(BATCHES)))
    monkeypatch.setattr("infoprune.methods.kprune.MEMORY", 0)
    forgetful: dict = {}
    rank_by_knowledge(small, tiny_bert64, BATCHES, names, KPrune(), forgetful)
    assert not forgetful


def test_at_the_bottom_there_is_no_divergence_yet(tiny_bert64):
    names = [site.name for site in find_sites(tiny_bert64)]
    scores = rank_by_knowledge(tiny_bert64, tiny_bert64, BATCHES, names, KPrune(representational=0.0))
    assert all(float(ranking.losses.max()) < 1e-20 for ranking in scores.sites.values())


def test_a_site_is_scored_after_those_below_are_cut_and_fitted(tiny_bert64):
    """The second site's choice is the one from scores of the model that has lost the first."""
    statistics = collect_for([METHODS["kprune"]], tiny_bert64, BATCHES)
    small, plan = prune_knowing(tiny_bert64, BATCHES, statistics, Keep(0.5))
    first, second, *_ = find_sites(tiny_bert64)
    dense = rank_by_knowledge(tiny_bert64, tiny_bert64, BATCHES, [first.name], KPrune())
    assert plan.kept[first.name] == tuple(sorted(dense.sites[first.name].order[first.units // 2 :].tolist()))
    cut = Plan("bert", {first.name: first.units}, {first.name: plan.kept[first.name]}, "hand", 0)
    fitted = repair(
        apply_plan(tiny_bert64, cut),
        tiny_bert64,
        BATCHES,
        statistics=statistics,
        smoothing=math.inf,
        ridge=1e-6,
        producers=False,
        sites=[first.name],
    )
    then = rank_by_knowledge(fitted, tiny_bert64, BATCHES, [second.name], KPrune()).sites[second.name]
    assert plan.kept[second.name] == tuple(sorted(then.order[second.units // 2 :].tolist()))
    assert_close(linear(small, first.reader).weight, linear(fitted, first.reader).weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictive": -1.0}, "predictive is -1"),
        ({"representational": -1.0}, "representational is -1"),
        ({"heads": 0.0}, "heads is 0"),
        ({"temperature": 0.0}, "temperature is 0"),
    ],
)
def test_options_of_k_prune(options, message):
    with pytest.raises(InputError, match=message):
        KPrune(**options)
