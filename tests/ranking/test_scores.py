"""Every score against a slow one, written from its formula with hooks and loops."""

from dataclasses import replace

import pytest
import torch
from tiny import captured, make_batches, normal, split, spread
from torch.testing import assert_close

from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.ranking.brain_surgeon import BrainSurgeon
from infoprune.ranking.criteria import CRITERIA, ChannelInformation, criterion_named, extras_of
from infoprune.ranking.eliminate import compensate, eliminate
from infoprune.ranking.scores import Activation, Flap, Leverage, Magnitude, MagnitudeSum, Taylor, Wanda
from infoprune.statistics.collect import collect
from infoprune.statistics.moments import Moments
from infoprune.structure.linear import linear

BATCHES = make_batches()
LONGER = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 3)
SITES = ("layers.0.heads", "layers.1.ffn")


@pytest.fixture
def statistics(tiny_bert64):
    return collect(tiny_bert64, BATCHES, extras={"masks", "activation_norm"})


def scores_of(criterion, statistics):
    """The losses in the order of the units."""
    elimination = criterion.rank_site(statistics, torch.Generator())
    assert torch.equal(elimination.losses, elimination.losses.sort().values)
    return torch.zeros_like(elimination.losses).scatter_(0, elimination.order, elimination.losses)


def inputs_of(model, site):
    """What the reader is given, text by text."""
    with captured(model, site.reader) as calls, torch.no_grad():
        for text in split(BATCHES):
            model(**text)
    return [x[0] for x, _ in calls]


def blocks(site):
    return [range(unit * site.size, (unit + 1) * site.size) for unit in range(site.units)]


@pytest.mark.parametrize("name", SITES)
def test_magnitudes_by_hand(tiny_bert64, statistics, name):
    site, reader = statistics.sites[name].site, statistics.sites[name].reader
    absolute, squares = [], []
    for unit, block in enumerate(blocks(site)):
        pieces = [reader[:, i] for i in block]
        for producer in site.producers:
            rows = producer.rows(torch.tensor([unit]), site.units)
            pieces.append(linear(tiny_bert64, producer.module).weight[rows].flatten())
        absolute.append(sum(float(piece.abs().sum()) for piece in pieces))
        squares.append(sum(float(piece.square().sum()) for piece in pieces))
    assert_close(scores_of(MagnitudeSum(), statistics.sites[name]), torch.tensor(absolute, dtype=torch.float64))
    assert_close(scores_of(Magnitude(), statistics.sites[name]), torch.tensor(squares, dtype=torch.float64))


@pytest.mark.parametrize("name", SITES)
def test_activation_is_the_root_of_squared_mean_lengths(tiny_bert64, statistics, name):
    site = statistics.sites[name].site
    wanted = []
    for block in blocks(site):
        means = [
            torch.stack([x[t, list(block)].norm() for t in range(len(x))]).mean() for x in inputs_of(tiny_bert64, site)
        ]
        wanted.append(sum(float(mean) ** 2 for mean in means) ** 0.5)
    assert_close(scores_of(Activation(), statistics.sites[name]), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("name", SITES)
def test_wanda_by_hand(tiny_bert64, statistics, name):
    site, reader = statistics.sites[name].site, statistics.sites[name].reader
    rows = torch.cat(inputs_of(tiny_bert64, site))
    wanted = [
        sum(float((reader[:, i].abs() * rows[:, i].norm() / len(rows) ** 0.5).mean()) for i in block)
        for block in blocks(site)
    ]
    assert_close(scores_of(Wanda(), statistics.sites[name]), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("name", SITES)
def test_flap_has_the_variance_of_torch(tiny_bert64, statistics, name):
    site, reader = statistics.sites[name].site, statistics.sites[name].reader
    moves = torch.var(torch.cat(inputs_of(tiny_bert64, site)), 0) * reader.norm(dim=0) ** 2
    standard = (moves - moves.mean()) / torch.std(moves)
    wanted = torch.stack([standard[list(block)].mean() for block in blocks(site)])
    assert_close(scores_of(Flap(), statistics.sites[name]), wanted)


def test_flap_of_units_that_all_move_alike(statistics):
    site = statistics.sites["layers.0.ffn"]
    still = Moments.empty(site.site.units)
    still.update(torch.ones(3, site.site.units))
    assert_close(scores_of(Flap(), replace(site, tokens=still)), torch.zeros(site.site.units, dtype=torch.float64))


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("name", SITES)
def test_taylor_by_differentiating_a_factor(make_tiny_bert, name, labels):
    """For every text and answer: the factor is put into the model by a hook and differentiated by autograd."""
    model = make_tiny_bert(dtype=torch.float64, num_labels=labels)
    statistics = collect(model, BATCHES, extras=extras_of(Taylor())).sites[name]
    site = statistics.site
    wanted = []
    for text in split(BATCHES):
        factor = torch.ones(site.units, dtype=torch.float64, requires_grad=True)
        handle = model.get_submodule(site.reader).register_forward_pre_hook(
            lambda _, x, m=factor: (x[0] * m.repeat_interleave(site.size),)
        )
        chances = model(**text).logits[0].log_softmax(-1)
        handle.remove()
        each = [torch.autograd.grad(chance, factor, retain_graph=True)[0] for chance in chances]
        wanted.append(sum(c.exp() * g.square() for c, g in zip(chances, each, strict=True)).detach().sqrt())
    assert_close(scores_of(Taylor(), statistics), torch.stack(wanted).mean(0), rtol=1e-5, atol=1e-9)


def test_leverage_by_solving_for_every_unit(statistics):
    """[C (C + r)^-1]_ii is 1 - r [(C + r)^-1]_ii, and the best guess of x_i from noisy others leaves 1 / that."""
    rows = normal(40, 6) @ spread(6)
    noisy = rows.T @ rows + 0.7 * torch.eye(6, dtype=torch.float64)
    moments = Moments.empty(6)
    moments.update(rows)
    site = statistics.sites["layers.1.ffn"]
    found = scores_of(Leverage(ridge=0.7), replace(site, tokens=moments, site=replace(site.site, units=6)))
    wanted = []
    for i in range(6):
        rest = [j for j in range(6) if j != i]
        left = noisy[i, i] - noisy[i, rest] @ torch.linalg.solve(noisy[rest][:, rest], noisy[rest, i])
        wanted.append(1 - 0.7 / left)
    assert_close(found, torch.stack(wanted))


def test_leverage_is_the_first_step_for_readers_that_read_each_unit_alone(statistics):
    """W = 1 and noise of the ridge's variance on every unit: the limit of docs/concepts/method.md."""
    site = statistics.sites["layers.1.ffn"]
    total = site.second_moment * site.tokens.weight
    identity = torch.eye(len(total), dtype=torch.float64)
    first = torch.stack([1 / torch.linalg.inv(total + identity)[i, i] / 2 for i in range(len(total))])
    assert scores_of(Leverage(), site).argsort().tolist() == first.argsort().tolist()
    assert int(eliminate(total + identity, identity).order[0]) == int(scores_of(Leverage(), site).argmin())


@pytest.mark.parametrize("name", SITES)
def test_brain_surgeon_loses_what_refitted_readers_lose(statistics, name):
    """Step by step: no other unit costs less, and the sum of the losses is that of least squares solved anew."""
    site = statistics.sites[name]
    size, units = site.site.size, min(site.site.units, 8)
    damped = site.second_moment
    damped.diagonal().add_(0.01 * damped.diagonal().mean())
    found = BrainSurgeon().rank_site(site, torch.Generator())

    def lost(gone):
        kept = torch.tensor([c for c in range(len(damped)) if c // size not in gone], dtype=torch.long)
        padded = torch.zeros_like(site.reader)
        padded[:, kept] = compensate(damped, site.reader, kept)
        error = site.reader - padded
        return float((error @ damped * error).sum()) / 2

    gone = []
    for step in range(units - 1):
        costs = {u: lost([*gone, u]) for u in range(site.site.units) if u not in gone}
        gone.append(int(found.order[step]))
        assert costs[gone[-1]] == pytest.approx(min(costs.values()), rel=1e-8)
        assert float(found.losses[: step + 1].sum()) == pytest.approx(lost(gone), rel=1e-6)


def test_brain_surgeon_is_our_limit(statistics):
    """tau at infinity, all tokens alike: the same elimination but for the mean, where there is none."""
    site = statistics.sites["layers.1.ffn"]
    centred = replace(site, centred=False, smoothing=float("inf"), shrinkage=0.01)
    damped = site.second_moment
    damped.diagonal().add_(0.01 * damped.diagonal().mean())
    assert_close(centred.covariance, damped)
    ours = ChannelInformation(tau=float("inf")).rank_site(centred, torch.Generator())
    theirs = BrainSurgeon().rank_site(site, torch.Generator())
    assert ours.order.tolist() == theirs.order.tolist()
    assert_close(ours.losses, theirs.losses)


def test_wanda_is_our_limit_where_units_are_uncorrelated_and_read_once():
    """Diagonal C and one output: 1/2 w_j^2 E x_j^2 grows with |w_j| sqrt(E x_j^2)."""
    variances, reader = normal(9).square() + 0.1, normal(1, 9, seed=1)
    ours = eliminate(torch.diag(variances), reader.T @ reader)
    assert ours.order.tolist() == (reader[0].abs() * variances.sqrt()).argsort().tolist()


def test_flap_is_our_limit_where_units_are_uncorrelated(statistics):
    """Diagonal C: 1/2 var_j |w_j|^2; the order of one step for all, since nothing is left to re-fit."""
    site = statistics.sites["layers.1.ffn"]
    alone = torch.diag(site.tokens.covariance.diagonal())
    ours = eliminate(alone, site.reader.T @ site.reader)
    assert ours.order.tolist() == Flap().rank_site(site, torch.Generator()).order.tolist()


def test_extras_cost_nothing_unless_asked_for(tiny_bert64, statistics):
    plain = collect(tiny_bert64, BATCHES)
    for name, site in plain.sites.items():
        assert site.masks is None
        assert site.activation_norm is None
        assert torch.equal(site.fisher, statistics.sites[name].fisher)
    assert extras_of(Wanda(), Flap()) == frozenset()
    assert extras_of(Taylor(), Activation()) == {"masks", "activation_norm"}


def test_masks_do_not_depend_on_batches_and_padding(tiny_bert64, statistics):
    singles = collect(tiny_bert64, split(BATCHES), extras={"masks", "activation_norm"})
    for name, site in singles.sites.items():
        assert_close(site.masks, statistics.sites[name].masks, rtol=1e-4, atol=1e-7)
        assert_close(site.activation_norm, statistics.sites[name].activation_norm)


@pytest.mark.parametrize("name", ["taylor", "kwon", "activation"])
def test_statistics_without_what_is_needed(tiny_bert64, name):
    with pytest.raises(
        InputError, match=f"layers.0.heads are without '(masks|activation_norm)', which criterion '{name}'"
    ):
        criterion_named(name).rank_site(collect(tiny_bert64, BATCHES).sites["layers.0.heads"], torch.Generator())


def test_options_out_of_range(tiny_bert64):
    with pytest.raises(InputError, match="`ridge` is 0"):
        Leverage(ridge=0.0)
    with pytest.raises(InputError, match="`damping` is -1"):
        BrainSurgeon(damping=-1.0)


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in ("fan2021", "reap", "frequency")])
def test_compress_collects_what_a_criterion_wants(tiny_bert, name):
    settings = Settings(rounds=2, repair=False)
    result = prune(tiny_bert, LONGER, keep=0.5, criterion=criterion_named(name), settings=settings)
    assert all(2 * kept == of for kept, of in result.plan.counts.values())
    assert (result.report.nats_lost is None) == (name not in ("information", "kwon"))


@pytest.mark.parametrize("name", CRITERIA)
def test_names_are_those_of_the_criteria(name):
    assert criterion_named(name).name == name
