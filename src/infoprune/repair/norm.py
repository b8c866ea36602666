"""The gain and the bias of a norm, re-fitted coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.processes import add_up
from infoprune.statistics.precision import exact


def sums_of(rows: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Float[Tensor, "5 n"]:
    """Weighted sums of 1, x, y, x^2 and x y for every coordinate; float64. They add up over any split of the rows.

    Args:
        rows: of every batch the inputs (batch, length, n), targets (batch, length, n) and weights (batch, length).
    """
    parts = []
    for x, y, weights in rows:
        w = exact(weights).to(x.device).reshape(-1, 1)
        x, y = exact(x).flatten(0, -2), exact(y).flatten(0, -2)
        parts.append(torch.stack([(w * each).sum(0) for each in (torch.ones_like(x), x, y, x * x, x * y)]))
    return torch.stack(parts).sum(0)


def gain_and_shift(sums: Float[Tensor, "5 n"], *, intercept: bool) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    r"""Factor and shift of every coordinate by weighted least squares.

        min over a, b of  sum_t w_t (a x_t + b - y_t)^2        a = Cov(x, y) / Var(x),  b = E y - a E x

    Args:
        sums: from `sums_of`.
        intercept: whether there is a shift; without one the moments are taken about zero, and it comes back as zeros.

    Returns:
        (n,) and (n,); 1 and the difference of the means for a coordinate that never moves.
    """
    total, *moments = sums
    x_mean, y_mean, square, product = (each / total.clamp_min(torch.finfo(torch.float64).tiny) for each in moments)
    if not intercept:
        x_mean, y_mean = torch.zeros_like(x_mean), torch.zeros_like(y_mean)
    variance = square - x_mean.square()
    moves = variance > 1e-12 * square
    gain = torch.where(moves, (product - x_mean * y_mean) / torch.where(moves, variance, 1.0), 1.0)
    return gain, y_mean - gain * x_mean


def refit_norm(model: PreTrainedModel, path: str, rows: Sequence[tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
    """Re-fits a norm in place, whose outputs are the inputs of the regression."""
    parameters = dict(model.get_submodule(path).named_parameters(recurse=False))
    bias = parameters.get("bias")
    sums = sums_of(rows)
    add_up(sums)
    gain, shift = gain_and_shift(sums, intercept=bias is not None)
    with torch.no_grad():
        parameters["weight"].mul_(gain.to(parameters["weight"]))
        if bias is not None:
            bias.mul_(gain.to(bias)).add_(shift.to(bias))
    return [y * gain.to(y) + shift.to(y) for y, _, _ in rows]
