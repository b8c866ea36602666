"""Masks: one factor for every unit that is left, by damped least squares; the repair of Kwon et al. 2022."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.repair.places import Place
from infoprune.repair.repair import by_worth, refit_bottom_up
from infoprune.repair.ridge import Sums
from infoprune.statistics.calibration import Batch, Progress
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import Statistics
from infoprune.structure.linear import LinearMap
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

    def fit(place: Place, module: LinearMap, parts: Sequence[Sums]) -> tuple[Tensor, Tensor]:
        nonlocal trusted
        weight, size = exact(module.weight), sites[place.worth].size
        bias = weight.new_zeros(len(weight)) if module.bias is None else exact(module.bias)
        factors = mask_factors(reduce(Sums.plus, parts), weight, bias, size)
        trusted = trusted and float(factors.abs().max()) <= largest
        return (weight * factors.repeat_interleave(size) if trusted else weight), bias

    return refit_bottom_up(
        small,
        dense,
        batches,
        chosen=lambda place: place.reads and place.worth in sites and place.worth != lowest,
        weigh=lambda place: [(each > 0).double() for each in weigh(place)],
        fit=fit,
        progress=progress,
    )


def mask_factors(
    sums: Sums, weight: Float[Tensor, "o n"], bias: Float[Tensor, " o"], size: int
) -> Float[Tensor, " units"]:
    """The factors m of the units of one reader: with A symmetric, m = 1 + (A A + 1)^-1 A (a - A 1).

    Args:
        sums: of inputs and targets.
        weight: W.
        bias: b.
        size: columns that a unit owns.
    """
    units = weight.shape[1] // size
    both = sums.xx[:-1, :-1] * (weight.T @ weight)
    table = both.reshape(units, size, units, size).sum((1, 3))
    targets = sums.xt[:-1] - torch.outer(sums.xx[:-1, -1], bias)
    wanted = (targets * weight.T).sum(1).reshape(units, size).sum(1)
    # by eigenvectors, since the square of A has digits that a factorisation of it would lose
    values, vectors = torch.linalg.eigh(table)
    gain = values / (values.square() + 1)
    factors: Tensor = 1 + vectors @ (gain * (vectors.T @ (wanted - table.sum(1))))
    return factors
