"""Masks: one factor for every unit that is left, by damped least squares; the repair of Kwon et al. 2022."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.repair.repair import Place, Rows, by_worth, refit_bottom_up
from infoprune.repair.ridge import Sums
from infoprune.statistics.calibration import Batch, Progress
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import Statistics
from infoprune.structure.linear import linear
from infoprune.structure.sites import find_sites

LARGEST = 10.0
"""Beyond it a factor says that the equations were no good; they are then left alone, and so is all that is above."""


def tune_masks(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    *,
    largest: float = LARGEST,
    progress: Progress | None = None,
) -> PreTrainedModel:
    r"""A copy of the pruned model in which what each unit says is multiplied by a factor.

    From the bottom to the top, at every reader, with x_u its input from unit u in the pruned network, r the residual
    there and y the dense network's output with the dense residual,

        min over m of  |A m - a|^2 + |m - 1|^2,    A_uv = sum_t (W_u x_tu).(W_v x_tv),
                                                   a_u  = sum_t (W_u x_tu).(y_t - r_t - b)

    over the tokens of which the answer hears. The lowest site of all is left alone, and everything above one whose
    factors leave [-10, 10].

    Args:
        small: from `prune`, without compensation.
        dense: the model that it was cut from.
        batches: tokenised inputs.
        statistics: of the dense model on these batches.
        largest: how far from zero a factor may be.
        progress: called with (places done, places in all).

    Source:
        W. Kwon et al., *A fast post-training pruning framework for transformers*, NeurIPS 2022, section 4.3; damping,
        bounds and the site left alone as in its public code.
    """
    sites = {site.name: site for site in find_sites(small)}
    lowest = next(iter(sites))
    weigh = by_worth(statistics, batches, 0.0)
    trusted = True

    def fit(place: Place, weight: Tensor, intercept: bool, rows: Rows) -> tuple[Tensor, Tensor]:
        nonlocal trusted
        own = linear(small, place.module).bias
        bias = exact(weight.new_zeros(len(weight)) if own is None else own)
        factors = mask_factors(rows, weight, bias, sites[place.site].size)
        trusted = trusted and float(factors.abs().max()) <= largest
        if not trusted:
            return exact(weight), bias
        return exact(weight) * factors.repeat_interleave(sites[place.site].size), bias

    return refit_bottom_up(
        small,
        dense,
        batches,
        chosen=lambda place: place.reads and place.site != lowest,
        weigh=lambda place: [(each > 0).double() for each in weigh(place)],
        fit=fit,
        progress=progress,
    )


def mask_factors(
    rows: Rows, weight: Float[Tensor, "o n"], bias: Float[Tensor, " o"], size: int
) -> Float[Tensor, " units"]:
    """The factors m of the units of one reader; units own `size` columns each.

    With A symmetric the damped solution is m = 1 + (A A + 1)^-1 A (a - A 1).
    """
    weight = exact(weight)
    sums = Sums.empty(weight.shape[1], len(weight), weight.device)
    for x, target, weights in rows:
        real = weights.reshape(-1) > 0
        flat = exact(target.flatten(0, -2)[real]) - bias
        sums.update(x.flatten(0, -2)[real], flat, weights.reshape(-1)[real])
    units = weight.shape[1] // size
    both = sums.xx[:-1, :-1] * (weight.T @ weight)
    table = both.reshape(units, size, units, size).sum((1, 3))
    wanted = (sums.xt[:-1] * weight.T).sum(1).reshape(units, size).sum(1)
    # by eigenvectors, since the square of A has digits that a factorisation of it would lose
    values, vectors = torch.linalg.eigh(table)
    gain = values / (values.square() + 1)
    factors: Tensor = 1 + vectors @ (gain * (vectors.T @ (wanted - table.sum(1))))
    return factors
