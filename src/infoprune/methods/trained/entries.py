"""Entries: chooses single weights; what is left of a matrix is as large as before, with zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from infoprune.methods.trained.masks import largest, largest_together, masked
from infoprune.methods.trained.table import TrainedMethod
from infoprune.methods.trained.weights import fold, layer_maps, trainable
from infoprune.training.trainer import Group


class Entries:
    """Chooses among the weights of a model, which is changed in place.

    Args:
        model: in training.
        method: by what, and whether in one ranking.
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
        """The scores, where they are trained."""
        scores = tuple(mask.scores for mask in self._masks if mask.scores is not None)
        return (Group(scores, self._method.rate),) if scores else ()

    def narrow(self, share: float, settled: bool) -> None:
        """Lets only the weights with the largest scores stay: as large a share as said."""
        scores = [
            trainable(module).detach().abs() if mask.scores is None else mask.scores
            for module, mask in zip(self._modules, self._masks, strict=True)
        ]
        chosen = largest_together(scores, share) if self._method.together else [largest(s, share) for s in scores]
        for mask, stays in zip(self._masks, chosen, strict=True):
            mask.mask.copy_(stays)
        self._gone = 1 - share

    def penalty(self) -> Tensor | float:
        """Draws all scores down alike, the more is gone."""
        scores = [mask.scores for mask in self._masks if mask.scores is not None]
        if not scores or not self._method.penalty:
            return 0.0
        mean = torch.stack([each.sigmoid().sum() for each in scores]).sum() / sum(each.numel() for each in scores)
        return self._method.penalty * self._gone * mean

    def finish(self) -> None:
        """Leaves zeros where nothing stays."""
        fold(self._modules)


class _Mask(nn.Module):
    """weight * mask, with the gradient of a mask for the scores, where there are any."""

    mask: Tensor

    def __init__(self, weight: Tensor, *, learnt: bool) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.scores = nn.Parameter(torch.zeros_like(weight)) if learnt else None

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask if self.scores is None else masked(weight, self.scores, self.mask)
