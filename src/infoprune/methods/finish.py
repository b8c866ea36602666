"""Finish: what a method does after the cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from infoprune.loading.record import record_sizes
from infoprune.methods.table import Finish
from infoprune.plan import Plan
from infoprune.repairing.augmentation import with_augmentations
from infoprune.repairing.mask_tuning import tune_masks
from infoprune.repairing.repair import repair
from infoprune.statistics.calibration import Batch
from infoprune.statistics.statistics import Statistics
from infoprune.structure.linear import linear
from infoprune.structure.slices import unit_coordinates
from infoprune.surgery import apply_plan

DAMPING = 1e-2
"""Ridge of the least squares, a fraction of the inputs' mean variance, as in SparseGPT and its successors."""


def finished(
    model: PreTrainedModel, plan: Plan, statistics: Statistics, batches: Sequence[Batch], finish: Finish
) -> PreTrainedModel:
    """Return a model that is cut along a plan and then treated by a method's finish.

    Args:
        model: The dense model.
        plan: A plan for it.
        statistics: Statistics of it, from these batches.
        batches: Tokenised inputs.
        finish: "cut": nothing. "means": the biases take up the mean outputs of the removed units. "least-squares": the
            readers are re-fitted from the bottom to the top, with the same weight for all tokens. "masks": every unit
            gets a fitted factor. "repair": this library's compensation and repair, with its defaults.
    """
    if finish == "repair":
        small = apply_plan(model, plan, statistics)
        sites = [each.site for each in statistics.sites.values() if not each.site.streams]
        augmented, importance = with_augmentations(model, batches, statistics, sites=sites)
        return repair(small, model, augmented, statistics=importance, own=len(batches))
    small = apply_plan(model, plan)
    if finish == "means":
        take_up_means(small, model, plan, statistics)
    if finish == "least-squares":
        return repair(small, model, batches, statistics=statistics, smoothing=math.inf, ridge=DAMPING, producers=False)
    if finish == "masks":
        return tune_masks(small, model, batches, statistics)
    return small


def take_up_means(small: PreTrainedModel, dense: PreTrainedModel, plan: Plan, statistics: Statistics) -> None:
    """Add the mean output of the removed units, W_D E[x_D], to every reader's bias, in place.

    A reader without a bias gets one, as in a Llama; the config says so, since its class has none.

    Args:
        small: The cut model, which is changed.
        dense: The model that it was cut from.
        plan: The plan of the cut.
        statistics: Statistics of the dense model.

    Source:
        Y. An et al., *Fluctuation-based adaptive structured pruning for large language models* (FLAP), AAAI 2024,
        equation (3).
    """
    for name, kept in plan.kept.items():
        each = statistics.sites[name]
        reader = linear(small, each.site.reader)
        lost = torch.tensor(sorted(set(range(each.site.units)) - set(kept)), dtype=torch.long)
        columns = unit_coordinates(lost, each.site.size).to(each.reader.device)
        shift = (each.reader[:, columns] @ each.tokens.mean[columns]).to(reader.weight)
        if reader.bias is None:
            reader.module.bias = nn.Parameter(torch.zeros_like(shift), reader.module.weight.requires_grad)
        with torch.no_grad():
            reader.module.bias.add_(shift)
    record_sizes(small)
