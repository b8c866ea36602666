"""Finish: what methods do after the cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from infoprune.methods.table import Finish
from infoprune.plan import Plan
from infoprune.repair.copies import with_copies
from infoprune.repair.masks import tune_masks
from infoprune.repair.repair import repair
from infoprune.statistics.calibration import Batch
from infoprune.statistics.statistics import Statistics
from infoprune.structure.linear import linear
from infoprune.structure.sites import find_sites
from infoprune.structure.slices import unit_coordinates
from infoprune.surgery import prune

DAMPING = 1e-2
"""Of least squares, a fraction of the inputs' mean variance, as in SparseGPT and what follows it."""


def finished(
    model: PreTrainedModel, plan: Plan, statistics: Statistics, batches: Sequence[Batch], finish: Finish
) -> PreTrainedModel:
    """The model after a plan's cut, and after what a method does then.

    Args:
        model: dense.
        plan: for it.
        statistics: of it, from these batches.
        batches: tokenised inputs.
        finish: "cut": nothing; "means": biases take up what the lost units say on average; "least-squares": readers are
            re-fitted from the bottom to the top, all tokens alike; "masks": a factor for every unit; "repair": this
            library's compensation and repair, with its defaults.
    """
    if finish == "repair":
        small = prune(model, plan, statistics)
        copied, worth = with_copies(model, batches, statistics, sites=find_sites(model))
        return repair(small, model, copied, statistics=worth, own=len(batches))
    small = prune(model, plan)
    if finish == "means":
        take_up_means(small, model, plan, statistics)
    if finish == "least-squares":
        return repair(small, model, batches, statistics=statistics, floor=math.inf, ridge=DAMPING, producers=False)
    if finish == "masks":
        return tune_masks(small, model, batches, statistics)
    return small


def take_up_means(small: PreTrainedModel, dense: PreTrainedModel, plan: Plan, statistics: Statistics) -> None:
    """Adds to every reader's bias, in place, what the lost units say on average: W_D E[x_D]; one without bias gets one.

    Plain transformers has no such bias in a Llama and would leave it out: `load` opens what is saved of it.

    Source:
        Y. An et al., *Fluctuation-based adaptive structured pruning for large language models* (FLAP), AAAI 2024,
        equation (3).
    """
    for name, kept in plan.kept.items():
        each = statistics.sites[name]
        reader = linear(small, each.site.reader)
        lost = torch.tensor(sorted(set(range(each.site.units)) - set(kept)), dtype=torch.long)
        columns = unit_coordinates(lost, each.site.size).to(each.reader.device)
        said = (each.reader[:, columns] @ each.tokens.mean[columns]).to(reader.weight)
        if reader.bias is None:
            reader.module.bias = nn.Parameter(torch.zeros_like(said), reader.module.weight.requires_grad)
        with torch.no_grad():
            reader.module.bias.add_(said)
