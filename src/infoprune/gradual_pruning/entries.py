"""Entries: choose single weights; a matrix keeps its size and has zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from infoprune.gradual_pruning.masks import largest_entries, largest_together, masked
from infoprune.gradual_pruning.table import TrainedMethod
from infoprune.gradual_pruning.weights import fold, layer_maps, trainable
from infoprune.training.trainer import Group


class Entries:
    """Choice among the single weights of a model, which is changed in place.

    Args:
        model: The model in training.
        method: Score of the weights, and whether all matrices share one ranking.
    """

    def __init__(self, model: PreTrainedModel, method: TrainedMethod) -> None:
        self._method = method
        self._modules = [each.module for each in layer_maps(model).values()]
        self._masks = [_Mask(trainable(module), learnt=method.score == "movement") for module in self._modules]
        for module, mask in zip(self._modules, self._masks, strict=True):
            parametrize.register_parametrization(module, "weight", mask)
        self._gone = 0.0

    @property
    def groups(self) -> tuple[Group, ...]:
        """Parameter group of the scores, where they are trained."""
        scores = tuple(mask.scores for mask in self._masks if mask.scores is not None)
        return (Group(scores, self._method.rate),) if scores else ()

    def narrow(self, share: float, settled: bool) -> None:
        """Keep the given share of the weights, those with the largest scores."""
        scores = [
            trainable(module).detach().abs() if mask.scores is None else mask.scores
            for module, mask in zip(self._modules, self._masks, strict=True)
        ]
        chosen = (
            largest_together(scores, share) if self._method.together else [largest_entries(s, share) for s in scores]
        )
        for mask, stays in zip(self._masks, chosen, strict=True):
            mask.mask.copy_(stays)
        self._gone = 1 - share

    def penalty(self) -> Tensor | float:
        """Return a penalty on all scores, in proportion to the removed share."""
        scores = [mask.scores for mask in self._masks if mask.scores is not None]
        if not scores or not self._method.penalty:
            return 0.0
        mean = torch.stack([each.sigmoid().sum() for each in scores]).sum() / sum(each.numel() for each in scores)
        return self._method.penalty * self._gone * mean

    def finish(self) -> None:
        """Write zeros into the removed weights."""
        fold(self._modules)


class _Mask(nn.Module):
    """Parametrization weight * mask, with the mask's gradient for the scores, where there are any."""

    mask: Tensor

    def __init__(self, weight: Tensor, *, learnt: bool) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.scores = nn.Parameter(torch.zeros_like(weight)) if learnt else None

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask if self.scores is None else masked(weight, self.scores, self.mask)
