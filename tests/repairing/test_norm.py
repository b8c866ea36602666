import pytest
import torch

from infoprune.repairing.norm import gain_and_shift, sums_of


def rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=generator)
    y = torch.tensor([1.5, -0.5, 2.0, 0.0]) * x + 0.3 + 0.1 * noise
    return x, y, torch.rand(3, 5, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("intercept", [True, False])
def test_every_coordinate_is_a_weighted_regression(intercept):
    x, y, weights = rows()
    gain, shift = gain_and_shift(sums_of([(x, y, weights)]), intercept=intercept)
    root = weights.reshape(-1, 1).sqrt()
    for i in range(4):
        columns = torch.stack([x[..., i].flatten(), torch.full((15,), float(intercept))], 1)
        expected = torch.linalg.lstsq(root * columns, root * y[..., i].reshape(-1, 1), driver="gelsd").solution[:, 0]
        torch.testing.assert_close(torch.stack([gain[i], shift[i]]), expected)


def test_sums_add_up_over_batches():
    x, y, weights = rows()
    parts = [sums_of([(x[:1], y[:1], weights[:1]), (x[1:], y[1:], weights[1:])]), sums_of([(x, y, weights)])]
    torch.testing.assert_close(*parts)


def test_a_coordinate_that_never_moves_keeps_its_gain():
    x, y, weights = rows()
    x[..., 2] = 0.7
    gain, shift = gain_and_shift(sums_of([(x, y, weights)]), intercept=True)
    assert gain[2] == 1
    mean = (weights * y[..., 2]).sum() / weights.sum()
    torch.testing.assert_close(shift[2], mean - 0.7)
