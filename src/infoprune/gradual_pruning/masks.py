"""Masks: choose the entries with the largest scores, and give the scores the gradient of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def largest_entries(scores: Float[Tensor, "*n"], keep: float) -> Bool[Tensor, "*n"]:
    """Return True at the given share of the entries, rounded, with the largest scores; of equal scores the first.

    Examples:
        >>> largest_entries(torch.tensor([0.1, 0.4, 0.3, 0.2]), 0.5)
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
    """Return the masks of `largest_entries`, with one ranking for all tensors."""
    together = largest_entries(torch.cat([each.detach().flatten() for each in scores]), keep)
    parts = torch.split(together, [each.numel() for each in scores])
    return [part.reshape(each.shape) for part, each in zip(parts, scores, strict=True)]


def _nth(flat: Float[Tensor, " n"], n: int) -> Tensor:
    """Return the n-th smallest number."""
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        # numpy partitions ten times as fast as torch on a CPU
        return torch.tensor(np.partition(flat.numpy(), n - 1)[n - 1], dtype=flat.dtype)
    return flat.kthvalue(n).values


def masked(weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    r"""Return W * mask, with gradients as if the mask were a function of the scores with slope 1.

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
