import pytest
import torch

from infoprune.ranking.eliminate import eliminate
from infoprune.ranking.eliminate_jointly import eliminate_jointly

N = 9


def problems(places, seed=0):
    """Covariances and metrics of some places."""
    generator = torch.Generator().manual_seed(seed)
    fisher_samples = torch.randn(places, 2, 30, N, dtype=torch.float64, generator=generator)
    products = fisher_samples.mT @ fisher_samples / 30
    return products[:, 0], products[:, 1]


def lost(covariance, metric, kept, log):
    """What the readers y = x lose at one place where only some units stay, from the formula itself."""
    c_kept = covariance[kept[:, None], kept]
    left = covariance - covariance[:, kept] @ torch.linalg.solve(c_kept, covariance[kept])
    if log:
        inner = torch.eye(N, dtype=torch.float64) + torch.linalg.solve(torch.linalg.inv(metric), left)
        return torch.linalg.slogdet(inner).logabsdet / 2
    return (metric @ left).trace() / 2


@pytest.mark.parametrize("panel", [1, 2, 128])
@pytest.mark.parametrize("log", [False, True])
def test_losses_add_up_to_what_all_places_lose(log, panel):
    covariances, metrics = problems(3)
    found = eliminate_jointly(covariances, metrics, log=log, keep=3, panel=panel)
    kept = torch.tensor(sorted(set(range(N)) - set(found.order.tolist())))
    expected = sum(lost(c, g, kept, log) for c, g in zip(covariances, metrics, strict=True))
    assert float(found.losses.sum()) == pytest.approx(float(expected), rel=1e-9)


def test_the_first_to_go_is_the_one_that_all_places_miss_least():
    covariances, metrics = problems(4, seed=1)
    rest = [torch.tensor([i for i in range(N) if i != unit]) for unit in range(N)]
    losses = [sum(float(lost(c, g, kept, False)) for c, g in zip(covariances, metrics, strict=True)) for kept in rest]
    found = eliminate_jointly(covariances, metrics)
    assert int(found.order[0]) == min(range(N), key=losses.__getitem__)
    assert float(found.losses[0]) == pytest.approx(min(losses))


@pytest.mark.parametrize("log", [False, True])
def test_one_place_is_plain_elimination(log):
    covariances, metrics = problems(1, seed=2)
    one, many = eliminate(covariances[0], metrics[0], log=log), eliminate_jointly(covariances, metrics, log=log)
    assert torch.equal(one.order, many.order)
    torch.testing.assert_close(one.losses, many.losses)


def test_nothing_is_removed_where_all_is_kept():
    assert len(eliminate_jointly(*problems(2), keep=N).order) == 0


@pytest.mark.parametrize("log", [False, True])
def test_the_losses_of_some_places_in_the_order_of_all(log):
    covariances, metrics = problems(3, seed=3)
    some = eliminate_jointly(covariances, metrics, log=log, keep=3, counted=2, panel=4)
    assert torch.equal(some.order, eliminate_jointly(covariances, metrics, log=log, keep=3).order)
    kept = torch.tensor(sorted(set(range(N)) - set(some.order.tolist())))
    expected = sum(lost(c, g, kept, log) for c, g in zip(covariances[:2], metrics[:2], strict=True))
    assert float(some.losses.sum()) == pytest.approx(float(expected), rel=1e-9)
