"""Elimination against a plain version that inverts and re-fits from the start at every step."""

import pytest
import torch
from tiny import normal, spread
from torch.testing import assert_close

from infoprune.ranking.eliminate import by_score, compensate, eliminate

N, OUTPUTS = 18, 8


def problem(n=N, seed=0):
    """Covariance, reader and metric."""
    covariance = spread(n, seed)
    reader = normal(OUTPUTS, n, seed=seed + 1)
    root = normal(OUTPUTS, OUTPUTS + 2, seed=seed + 2)
    return covariance, reader, root @ root.T / OUTPUTS


def gram(reader, metric):
    return reader.T @ metric @ reader


def lost(covariance, reader, metric, kept, log):
    """Nats lost when only `kept` coordinates are read, by the definition: E_S = W_D C_{D|S} W_D^T."""
    everything = torch.arange(len(covariance))
    dropped = everything[~torch.isin(everything, kept)]
    inner = covariance[dropped][:, dropped]
    if len(kept):
        cross = covariance[dropped][:, kept]
        inner = inner - cross @ torch.linalg.inv(covariance[kept][:, kept]) @ cross.T
    error = reader[:, dropped] @ inner @ reader[:, dropped].T
    if log:
        return float(torch.linalg.slogdet(torch.eye(len(metric)).double() + metric @ error).logabsdet) / 2
    return float((metric * error).sum()) / 2


def plain(covariance, reader, metric, size, keep, log):
    """Greedy elimination, every candidate judged from the start at every step."""
    alive, order, losses, before = list(range(len(covariance) // size)), [], [], 0.0
    while len(alive) > keep:
        after = []
        for j in alive:
            units = torch.tensor([u for u in alive if u != j], dtype=torch.long)
            kept = (units[:, None] * size + torch.arange(size)).reshape(-1)
            after.append(lost(covariance, reader, metric, kept, log))
        best = min(range(len(alive)), key=after.__getitem__)
        order.append(alive.pop(best))
        losses.append(after[best] - before)
        before = after[best]
    return torch.tensor(order), torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("size", "panels"), [(1, (1, 5, 64, 1000)), (2, (64,)), (3, (64,))])
def test_as_the_plain_version(log, size, panels):
    covariance, reader, metric = problem()
    order, losses = plain(covariance, reader, metric, size, 1, log)
    for panel in panels:
        fast = eliminate(covariance, gram(reader, metric), size=size, keep=1, log=log, panel=panel)
        assert fast.order.tolist() == order.tolist()
        assert_close(fast.losses, losses, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("keep", [0, 2])
def test_losses_add_up_to_the_total(log, size, keep):
    covariance, reader, metric = problem(n=150, seed=3)  # more than two panels
    fast = eliminate(covariance, gram(reader, metric), size=size, keep=keep, log=log)
    everything = torch.arange(150 // size)
    units = everything[~torch.isin(everything, fast.order)]
    kept = (units[:, None] * size + torch.arange(size)).reshape(-1)
    assert float(fast.losses.sum()) == pytest.approx(lost(covariance, reader, metric, kept, log), rel=1e-9)
    assert (fast.losses >= 0).all()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_of_two_equal_units_one_goes_free(log, size):
    covariance, reader, metric = problem(n=12)
    source = torch.arange(12 + size)
    source[12:] = torch.arange(3, 3 + size)  # the last unit says what unit 3 / size says
    copied = covariance[source][:, source] + 1e-9 * torch.eye(12 + size).double()
    reader = torch.cat([reader, normal(OUTPUTS, size, seed=9)], 1)
    fast = eliminate(copied, gram(reader, metric), size=size, log=log)
    assert int(fast.order[0]) in (3 // size, 12 // size)
    assert float(fast.losses[0]) < 1e-6 * float(fast.losses[1])
    assert {3 // size, 12 // size} != set(fast.order[:2].tolist())


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_units_of_measure_do_not_matter(log, size):
    covariance, reader, metric = problem()
    scale = (4 * normal(N, seed=7)).exp()
    scaled = covariance * scale * scale[:, None]
    a = eliminate(covariance, gram(reader, metric), size=size, log=log)
    b = eliminate(scaled, gram(reader / scale, metric), size=size, log=log)
    assert a.order.tolist() == b.order.tolist()
    assert_close(a.losses, b.losses, rtol=1e-6, atol=0)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_numbering_does_not_matter(log, size):
    covariance, reader, metric = problem()
    shuffle = torch.randperm(N // size, generator=torch.Generator().manual_seed(0))
    at = (shuffle[:, None] * size + torch.arange(size)).reshape(-1)
    a = eliminate(covariance, gram(reader, metric), size=size, log=log)
    b = eliminate(covariance[at][:, at], gram(reader[:, at], metric), size=size, log=log)
    assert shuffle[b.order].tolist() == a.order.tolist()
    assert_close(a.losses, b.losses, rtol=1e-9, atol=0)


def test_without_correlation_it_is_variance_times_reader():
    variances, reader = normal(N).exp(), normal(OUTPUTS, N, seed=1)
    cost = variances * reader.square().sum(0) / 2
    fast = eliminate(variances.diag(), gram(reader, torch.eye(OUTPUTS).double()), keep=1)
    assert int(fast.order[0]) == int(cost.argmin())
    assert float(fast.losses[0]) == pytest.approx(float(cost.min()))


def test_without_correlation_but_shared_readers_the_gram_does_not_change():
    variances, (_, reader, metric) = normal(N).exp(), problem()
    fast = eliminate(variances.diag(), gram(reader, metric))
    cost = variances * gram(reader, metric).diagonal() / 2
    assert fast.order.tolist() == cost.argsort().tolist()
    assert_close(fast.losses, cost.sort().values)


def test_with_identities_it_is_the_conditional_variance():
    covariance, _, _ = problem()
    conditional = 1 / torch.linalg.inv(covariance).diagonal()
    fast = eliminate(covariance, torch.eye(N).double(), keep=N - 1)
    assert int(fast.order[0]) == int(conditional.argmin())
    assert float(fast.losses[0]) == pytest.approx(float(conditional.min()) / 2)


@pytest.mark.parametrize("size", [1, 3])
def test_with_much_noise_the_logarithm_is_the_trace(size):
    covariance, reader, metric = problem()
    noise = 1e6
    trace = eliminate(covariance, gram(reader, metric), size=size)
    log = eliminate(covariance, gram(reader, metric) / noise, size=size, log=True)
    assert log.order.tolist() == trace.order.tolist()
    assert_close(log.losses * noise, trace.losses, rtol=1e-4, atol=0)


@pytest.mark.parametrize("size", [1, 3])
def test_keeping_everything_and_nothing(size):
    covariance, reader, metric = problem()
    none = eliminate(covariance, gram(reader, metric), size=size, keep=N // size)
    assert none.order.shape == none.losses.shape == (0,)
    every = eliminate(covariance, gram(reader, metric), size=size, keep=0)
    assert sorted(every.order.tolist()) == list(range(N // size))


@pytest.mark.parametrize("size", [1, 3])
def test_a_smaller_budget_takes_a_longer_prefix(size):
    covariance, reader, metric = problem()
    every = eliminate(covariance, gram(reader, metric), size=size)
    some = eliminate(covariance, gram(reader, metric), size=size, keep=3)
    assert some.order.tolist() == every.order[:-3].tolist()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("log", [False, True])
def test_tiny_and_huge_variances(scale, log):
    covariance, reader, metric = problem(n=40)
    a = eliminate(covariance, gram(reader, metric), log=log)
    b = eliminate(covariance * scale, gram(reader, metric) / scale, log=log)
    assert a.order.tolist() == b.order.tolist()
    assert_close(a.losses, b.losses, rtol=1e-9, atol=0)


def test_arguments_are_left_alone():
    covariance, reader, metric = problem()
    read = gram(reader, metric)
    before = covariance.clone(), read.clone()
    eliminate(covariance, read)
    eliminate(covariance, read, size=3, log=True)
    assert torch.equal(before[0], covariance)
    assert torch.equal(before[1], read)


def test_compensation_is_least_squares():
    x, weights, reader = normal(200, 8, seed=1), normal(200, seed=2).abs(), normal(OUTPUTS, 8, seed=3)
    x = x @ normal(8, 8, seed=4)
    kept, root = torch.tensor([0, 3, 4, 6]), weights.sqrt()[:, None]
    expected = torch.linalg.lstsq(root * x[:, kept], root * (x @ reader.T)).solution.T
    assert_close(compensate((x * root).T @ (x * root), reader, kept), expected)


def test_compensation_of_everything_changes_nothing():
    covariance, reader, _ = problem()
    assert_close(compensate(covariance, reader, torch.arange(N)), reader)


def test_of_equal_scores_the_first_goes_first():
    score = torch.arange(40) % 3
    found = by_score(score.double())
    assert found.order.tolist() == sorted(range(40), key=score.tolist().__getitem__)
    assert found.losses.tolist() == sorted(score.tolist())
