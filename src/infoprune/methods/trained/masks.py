"""Masks: which entries of some matrices have the largest scores, and how a score is told what its entry is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def largest(scores: Float[Tensor, "*n"], keep: float) -> Bool[Tensor, "*n"]:
    """True at the given share of the entries, rounded, whose scores are the largest; of equal ones the first.

    Example:
        >>> largest(torch.tensor([0.1, 0.4, 0.3, 0.2]), 0.5)
        tensor([False,  True,  True, False])
    """
    flat = scores.detach().flatten()
    goes = len(flat) - round(keep * len(flat))
    if goes == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    if goes == len(flat):
        return torch.zeros_like(scores, dtype=torch.bool)
    limit = _nth(flat, goes)
    mask = flat > limit
    level = (flat == limit).nonzero()[:, 0]
    mask[level[: len(flat) - goes - int(mask.sum())]] = True
    return mask.reshape(scores.shape)


def largest_together(scores: Sequence[Float[Tensor, "*_"]], keep: float) -> list[Bool[Tensor, "*_"]]:
    """The same, with one ranking for all of the tensors."""
    together = largest(torch.cat([each.detach().flatten() for each in scores]), keep)
    parts = torch.split(together, [each.numel() for each in scores])
    return [part.reshape(each.shape) for part, each in zip(parts, scores, strict=True)]


def _nth(flat: Float[Tensor, " n"], n: int) -> Tensor:
    """The n-th smallest."""
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        # numpy partitions ten times as fast as torch on a CPU
        return torch.tensor(np.partition(flat.numpy(), n - 1)[n - 1], dtype=flat.dtype)
    return flat.kthvalue(n).values


def masked(weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    r"""W * mask, as if the mask were a function of the scores with slope 1.

        dL/dW = dL/dW' * mask,    dL/d scores = dL/dW' * W,    W' = W * mask

    Source:
        V. Sanh, T. Wolf, A. Rush, *Movement pruning: adaptive sparsity by fine-tuning*, NeurIPS 2020, section 4.
    """
    out: Tensor = _Masked.apply(weight, scores, mask)  # type: ignore[no-untyped-call]
    return out


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(weight, mask)
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        weight, mask = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * mask, gradient * weight, None
