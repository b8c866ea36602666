"""The gain and the bias of a norm, re-fitted coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.statistics.precision import exact


def fit_gain(
    rows: Iterable[tuple[Tensor, Tensor, Tensor]], *, intercept: bool
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    r"""Factor and shift of every coordinate by weighted least squares; float64.

        min over a, b of  sum_t w_t (a x_t + b - y_t)^2        a = Cov(x, y) / Var(x),  b = E y - a E x

    Args:
        rows: of every batch the inputs (batch, length, n), targets (batch, length, n) and weights (batch, length).
        intercept: whether there is a shift; without one the moments are taken about zero, and it comes back as zeros.

    Returns:
        (n,) and (n,); 1 and the difference of the means for a coordinate that never moves.
    """
    total, sums = 0.0, torch.zeros(0)
    for x, y, weights in rows:
        w = exact(weights).to(x.device).reshape(-1, 1)
        x, y = exact(x).flatten(0, -2), exact(y).flatten(0, -2)
        part = torch.stack([(w * each).sum(0) for each in (x, y, x * x, x * y)])
        total, sums = total + float(w.sum()), part if not sums.numel() else sums + part
    x_mean, y_mean, square, product = sums / max(total, torch.finfo(torch.float64).tiny)
    if not intercept:
        x_mean, y_mean = torch.zeros_like(x_mean), torch.zeros_like(y_mean)
    variance = square - x_mean.square()
    moves = variance > 1e-12 * square
    gain = torch.where(moves, (product - x_mean * y_mean) / torch.where(moves, variance, 1.0), 1.0)
    return gain, y_mean - gain * x_mean
