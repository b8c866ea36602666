"""Norms: re-fitting of gain and bias, coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.processes import add_up
from infoprune.repairing.ridge import Samples
from infoprune.statistics.precision import exact


def sums_of(samples: Iterable[Samples]) -> Float[Tensor, "5 n"]:
    """Compute the weighted sums of 1, x, y, x^2 and x y for every coordinate, in float64.

    The sums add up over any split of the samples.

    Args:
        samples: Samples of every batch, with inputs x and targets y of the same shape.
    """
    parts = []
    for x, y, weights in samples:
        w = exact(weights).to(x.device).reshape(-1, 1)
        x, y = exact(x).flatten(0, -2), exact(y).flatten(0, -2)
        parts.append(torch.stack([(w * each).sum(0) for each in (torch.ones_like(x), x, y, x * x, x * y)]))
    return torch.stack(parts).sum(0)


def gain_and_shift(sums: Float[Tensor, "5 n"], *, intercept: bool) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    r"""Fit the factor and shift of every coordinate by weighted least squares.

        min over a, b of  sum_t w_t (a x_t + b - y_t)^2        a = Cov(x, y) / Var(x),  b = E y - a E x

    Args:
        sums: Sums from `sums_of`.
        intercept: Whether to fit a shift; without one the moments are taken about zero, and the shift is 0.

    Returns:
        Factors and shifts, (n,) each; for a constant coordinate 1 and the difference of the means.
    """
    total, *moments = sums
    x_mean, y_mean, square, product = (each / total.clamp_min(torch.finfo(torch.float64).tiny) for each in moments)
    if not intercept:
        x_mean, y_mean = torch.zeros_like(x_mean), torch.zeros_like(y_mean)
    variance = square - x_mean.square()
    moves = variance > 1e-12 * square
    gain = torch.where(moves, (product - x_mean * y_mean) / torch.where(moves, variance, 1.0), 1.0)
    return gain, y_mean - gain * x_mean


def refit_norm(model: PreTrainedModel, path: str, samples: Sequence[Samples]) -> list[Tensor]:
    """Re-fit a norm in place, whose outputs are the inputs of the regression; return the new outputs."""
    parameters = dict(model.get_submodule(path).named_parameters(recurse=False))
    bias = parameters.get("bias")
    sums = sums_of(samples)
    add_up(sums)
    gain, shift = gain_and_shift(sums, intercept=bias is not None)
    with torch.no_grad():
        parameters["weight"].mul_(gain.to(parameters["weight"]))
        if bias is not None:
            bias.mul_(gain.to(bias)).add_(shift.to(bias))
    return [y * gain.to(y) + shift.to(y) for y, _, _ in samples]
