import math
from dataclasses import replace

import pytest
import torch
from tiny import make_batches, normal
from torch.testing import assert_close

from infoprune.budgets.allocate import Keep, allocate
from infoprune.errors import InputError
from infoprune.information import gaussian_information
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.moments import Moments
from infoprune.statistics.pairs import Pairs
from infoprune.structure.sites import find_sites

BATCHES = [
    {**batch, "labels": torch.arange(len(batch["input_ids"])) % 2}
    for batch in make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 4)
]
GAUSSIAN = [
    Fan2021(),
    Fan2021(aggregation="mean"),
    Fan2021(aggregation="max"),
    Fan2021(redundancy="mrmr"),
    Fan2021(redundancy="joint"),
]
VARIANTS = [
    *GAUSSIAN,
    Fan2021(target="labels"),
    *(replace(each, estimator="copula", samples=200) for each in GAUSSIAN),
    Fan2021(estimator="ksg", samples=30),
    Fan2021(estimator="ksg", samples=30, aggregation="max", target="labels"),
]


def said(criterion):
    return "-".join((criterion.estimator, criterion.redundancy, criterion.aggregation, criterion.target))


def paired(model, criterion):
    return collect_pairs(model, BATCHES, collect(model, BATCHES), criterion.pairing)


@pytest.fixture
def site(tiny_bert):
    """Statistics of some site, to be given other pairs."""
    return collect(tiny_bert, BATCHES).sites["layers.0.ffn"]


def with_rows(statistics, criterion, x, y, size=1, above=None):
    """The statistics with pairs made of given rows."""
    rows = torch.cat([x, y], 1)
    moments = Moments.empty(rows.shape[1])
    moments.update(rows)
    joint = moments if criterion.estimator == "gaussian" else rows.float()
    units = replace(statistics.site, units=x.shape[1] // size, size=size)
    return replace(statistics, site=units, pairs=Pairs(above, x.shape[1], y.shape[1], joint))


def order(criterion, statistics):
    return criterion.rank_site(statistics, torch.Generator()).order.tolist()


@pytest.mark.parametrize("criterion", VARIANTS, ids=said)
@pytest.mark.parametrize("size", [1, 2])
def test_units_that_follow_those_above_stay(site, criterion, size):
    """Of six units two follow one unit above each, more and less closely; the others are noise."""
    y = normal(200, 2)
    if criterion.target == "labels":
        y = (y[:, :1] > 0).double()
    x = normal(200, 6 * size, seed=1)
    x[:, 2 * size] = y[:, 0] + 0.1 * x[:, 2 * size]
    x[:, 5 * size] = y[:, -1] + 0.4 * x[:, 5 * size]
    assert order(criterion, with_rows(site, criterion, x, y, size))[-1] == 2
    if criterion.target == "logits":
        assert set(order(criterion, with_rows(site, criterion, x, y, size))[-2:]) == {2, 5}


@pytest.mark.parametrize("criterion", [c for c in VARIANTS if c.redundancy != "none"], ids=said)
def test_a_redundancy_term_leaves_the_copy_out(site, criterion):
    """Units 0 and 1 are copies that say much, 2 says something else and less: the marginal score takes 0 and 1."""
    y = normal(500, 2)
    x = y[:, [0, 0, 1]] + torch.tensor([0.3, 0.3, 0.8]) * normal(500, 3, seed=1)[:, [0, 0, 1]]
    x[:, 1] += 1e-3 * normal(500, seed=2)
    plain = replace(criterion, redundancy="none")
    assert set(order(plain, with_rows(site, plain, x, y))[1:]) == {0, 1}
    assert 2 in order(criterion, with_rows(site, criterion, x, y))[1:]


@pytest.mark.parametrize("criterion", VARIANTS, ids=said)
def test_neither_scale_nor_offset_of_a_unit_matter(site, criterion):
    x, y = normal(100, 5), normal(100, 2, seed=1)
    if criterion.target == "labels":
        y = (y[:, :1] > 0).double()
    x = x + y[:, :1]
    moved = x * torch.tensor([0.125, 1, 8, 64, 0.5]) + torch.tensor([1.0, 0, -4, 0, 2])
    assert order(criterion, with_rows(site, criterion, x, y)) == order(criterion, with_rows(site, criterion, moved, y))


@pytest.mark.parametrize("aggregation", ["joint", "mean", "max"])
def test_scores_are_gaussian_information_with_the_preserved_units(tiny_bert64, aggregation):
    """Unit by unit, from the correlations with the ridge, of the units that a budget keeps above."""
    criterion = Fan2021(aggregation=aggregation, ridge=0.1)
    statistics = paired(tiny_bert64, criterion)
    rankings = rank(statistics, criterion, budget=Keep(0.5))
    plan = allocate(rankings, Keep(0.5))
    for name, ranking in rankings.sites.items():
        pairs, size = statistics.sites[name].pairs, ranking.site.size
        covariance = pairs.joint.covariance
        spread = covariance.diagonal().sqrt()
        correlation = covariance / spread / spread[:, None] + 0.1 * torch.eye(len(spread))
        above = range(pairs.upper) if pairs.above is None else plan.kept[pairs.above.name]
        blocks = [[pairs.here + unit * pairs.size + i for i in range(pairs.size)] for unit in above]
        if aggregation == "joint":
            blocks = [[i for block in blocks for i in block]]
        scores = []
        for unit in range(ranking.site.units):
            x = range(unit * size, (unit + 1) * size)
            each = [gaussian_information(correlation, x, block) for block in blocks]
            scores.append(max(each) if aggregation == "max" else sum(each) / len(each))
        scores = torch.tensor(scores, dtype=torch.float64)
        assert ranking.order.tolist() == scores.argsort().tolist()
        assert_close(ranking.losses, scores.sort().values, rtol=1e-6, atol=1e-9)


def test_joint_losses_add_up_to_the_information_of_all_units(tiny_bert64):
    criterion = Fan2021(redundancy="joint", ridge=0.1)
    statistics = paired(tiny_bert64, criterion)
    for name, ranking in rank(statistics, criterion).sites.items():
        pairs = statistics.sites[name].pairs
        covariance = pairs.joint.covariance
        spread = covariance.diagonal().sqrt()
        correlation = covariance / spread / spread[:, None] + 0.1 * torch.eye(len(spread))
        every = gaussian_information(correlation, range(pairs.here), range(pairs.here, pairs.here + pairs.upper))
        assert float(ranking.losses.sum()) == pytest.approx(every, rel=1e-6)


def test_what_is_preserved_above_matters(tiny_bert):
    criterion = Fan2021()
    statistics = paired(tiny_bert, criterion)
    free, bound = rank(statistics, criterion), rank(statistics, criterion, budget=Keep(0.25))
    assert list(free.sites) == list(bound.sites) == [site.name for site in find_sites(tiny_bert)]
    top = find_sites(tiny_bert)[-1].name
    assert free.sites[top].order.tolist() == bound.sites[top].order.tolist()  # nothing is cut above it
    assert free.sites["layers.0.ffn"].order.tolist() != bound.sites["layers.0.ffn"].order.tolist()


@pytest.mark.parametrize("criterion", VARIANTS, ids=said)
def test_compress(tiny_bert, criterion):
    first, again = (prune(tiny_bert, BATCHES, keep=0.5, criterion=criterion, seed=3) for _ in range(2))
    assert first.plan == again.plan
    assert first.plan.counts == {site.name: (site.units // 2, site.units) for site in find_sites(tiny_bert)}
    assert (first.report.criterion, first.report.nats_lost) == ("fan2021", None)


@pytest.mark.parametrize("refresh", ["site", "round", "never"])
@pytest.mark.parametrize("sites", [None, ["ffn"]])
def test_in_rounds(tiny_bert, refresh, sites):
    settings = Settings(rounds=2, refresh=refresh)
    result = prune(tiny_bert, BATCHES, keep=0.25, criterion=Fan2021(), structures=sites, settings=settings)
    assert all(kept == of // 4 for kept, of in result.plan.counts.values())


def test_from_the_top_one_site_at_a_time_is_the_same(tiny_bert):
    """What a site preserves does not change what is below it: one pass serves all, where the token weights agree."""
    criterion = Fan2021(smoothing=math.inf)
    plans = [
        prune(tiny_bert, BATCHES, keep=0.5, criterion=criterion, settings=Settings(refresh=refresh, repair=False)).plan
        for refresh in ("site", "round")
    ]
    assert plans[0].kept == plans[1].kept


@pytest.mark.parametrize(
    "criterion", [c for c in VARIANTS if c.estimator != "ksg" and c.redundancy != "mrmr"], ids=said
)
def test_constant_units_go_first(tiny_bert, criterion):
    """Not so by mRMR, to which what repeats others is worth less than nothing; KSG scatters about zero."""
    for layer in tiny_bert.bert.encoder.layer:
        layer.intermediate.dense.weight.data[5:9] = 0
    plan = prune(tiny_bert, BATCHES, keep=0.9, criterion=criterion, structures=["ffn"]).plan
    for kept in plan.kept.values():
        assert not {5, 6, 7, 8} & set(kept)


def test_refusals(tiny_bert):
    criterion = Fan2021()
    with pytest.raises(InputError, match=r"layers\.1\.ffn have no pairs.*pass what collect_pairs makes"):
        rank(collect(tiny_bert, BATCHES), criterion)
    with pytest.raises(InputError, match="no pairs for fan2021 with estimator 'copula'"):
        rank(paired(tiny_bert, criterion), Fan2021(estimator="copula"))
    bare = [{name: value for name, value in batch.items() if name != "labels"} for batch in BATCHES]
    with pytest.raises(InputError, match="no labels"):
        prune(tiny_bert, bare, criterion=Fan2021(target="labels"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": -1.0}, "`smoothing` is -1.0, expected 0 or more"),
        ({"smoothing": math.nan}, "`smoothing` is nan"),
        ({"ridge": -1.0}, "`ridge` is -1.0"),
        ({"samples": 3}, "`samples` is 3, expected 8 or more"),
        ({"neighbours": 0}, "`neighbours` is 0"),
        (
            {"estimator": "ksg", "redundancy": "mrmr"},
            "`redundancy` is 'mrmr' with estimator 'ksg', expected 'gaussian' or 'copula'",
        ),
        ({"redundancy": "joint", "aggregation": "max"}, "`redundancy` 'joint' has no max"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        Fan2021(**options)


@pytest.mark.parametrize("option", ["estimator", "redundancy", "aggregation", "target"])
def test_unknown_choices(option):
    criterion = Fan2021()
    object.__setattr__(criterion, option, "guess")  # the type checker of the tests would stop it at the door
    with pytest.raises(InputError, match=f"`{option}` is 'guess', expected '.*' or '.*'"):
        criterion.__post_init__()
