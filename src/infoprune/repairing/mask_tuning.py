"""Mask tuning: one factor for every kept unit, by damped least squares; the repair of Kwon et al. 2022."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.repairing.refit_steps import RefitStep
from infoprune.repairing.repair import by_importance, refit_bottom_up
from infoprune.repairing.ridge import Sums, summed
from infoprune.statistics.calibration import Batch, Progress
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import Statistics
from infoprune.structure.linear import LinearMap
from infoprune.structure.sites import find_sites

LARGEST = 10.0
"""Largest absolute factor: a larger one shows badly conditioned equations; that site and all above stay unchanged."""


def tune_masks(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    *,
    largest: float = LARGEST,
    progress: Progress | None = None,
) -> PreTrainedModel:
    r"""Return a copy of the pruned model in which the output of each unit is multiplied by a factor.

    At every reader, from the bottom to the top, with x_u its input from unit u in the pruned network, r the residual
    there and y the dense network's output plus the dense residual,

        min over m of  |A m - a|^2 + |m - 1|^2,    A_uv = sum_t (W_u x_tu).(W_v x_tv),
                                                   a_u  = sum_t (W_u x_tu).(y_t - r_t - b)

    over the tokens with non-zero importance. The lowest site stays unchanged, and so does a site with a factor outside
    [-largest, largest], together with all sites above it.

    Args:
        small: Pruned model, from `apply_plan` without compensation.
        dense: Model that it was cut from.
        batches: Tokenised inputs.
        statistics: Statistics of the dense model on these batches.
        largest: Largest absolute value of a factor.
        progress: Called with (steps done, steps in all).

    Source:
        W. Kwon et al., *A fast post-training pruning framework for transformers*, NeurIPS 2022, section 4.3; damping,
        bounds and the unchanged lowest site as in its public code.
    """
    sites = {site.name: site for site in find_sites(small)}
    lowest = next(iter(sites))
    weigh = by_importance(statistics, batches, 0.0)
    trusted = True

    def fit(step: RefitStep, module: LinearMap, parts: Sequence[Sums]) -> tuple[Tensor, Tensor]:
        nonlocal trusted
        weight, size = exact(module.weight), sites[step.importance].size
        bias = weight.new_zeros(len(weight)) if module.bias is None else exact(module.bias)
        factors = mask_factors(summed(parts), weight, bias, size)
        trusted = trusted and float(factors.abs().max()) <= largest
        return (weight * factors.repeat_interleave(size) if trusted else weight), bias

    return refit_bottom_up(
        small,
        dense,
        batches,
        chosen=lambda step: step.reads and step.importance in sites and step.importance != lowest,
        weigh=lambda step: [(each > 0).double() for each in weigh(step)],
        fit=fit,
        progress=progress,
    )


def mask_factors(
    sums: Sums, weight: Float[Tensor, "o n"], bias: Float[Tensor, " o"], size: int
) -> Float[Tensor, " units"]:
    """Compute the factors m of the units of one reader: with A symmetric, m = 1 + (A A + 1)^-1 A (a - A 1).

    Args:
        sums: Sums of inputs and targets.
        weight: Weight W of the reader.
        bias: Bias b of the reader.
        size: Columns of W that a unit owns.
    """
    units = weight.shape[1] // size
    both = sums.xx[:-1, :-1] * (weight.T @ weight)
    table = both.reshape(units, size, units, size).sum((1, 3))
    targets = sums.xt[:-1] - torch.outer(sums.xx[:-1, -1], bias)
    wanted = (targets * weight.T).sum(1).reshape(units, size).sum(1)
    # by eigenvectors: a factorisation of A A would lose digits
    values, vectors = torch.linalg.eigh(table)
    gain = values / (values.square() + 1)
    factors: Tensor = 1 + vectors @ (gain * (vectors.T @ (wanted - table.sum(1))))
    return factors
