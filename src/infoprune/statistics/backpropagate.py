"""Backpropagate: carry the Fisher information of the softmax to activations, one backward pass per direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from infoprune.statistics.answer import Answer
from infoprune.statistics.fisher import direction_count, directions
from infoprune.statistics.random_numbers import RandomNumbers


def scale_of(dtype: torch.dtype) -> float:
    """Return the power of two by which gradients are scaled.

    In float16 a confident prediction has tiny gradients, which a power of two brings into range exactly.
    """
    return 2.0**12 if dtype == torch.float16 else 1.0


def backpropagate(
    answer: Answer, fisher_samples: int, numbers: RandomNumbers, outputs: Sequence[Tensor]
) -> Iterator[tuple[Tensor | None, ...]]:
    """Yield, for every direction, the gradients with respect to some activations, in the model's precision.

    They are scaled by `scale_of` this precision; None stands for an activation that the answer does not depend on. The
    graph is freed with the last direction.

    Args:
        answer: Distribution that a model predicts, with gradient.
        fisher_samples: Number of samples where the directions are sampled.
        numbers: Random numbers of these samples.
        outputs: Activations that the answer was computed from.
    """
    values = answer.values
    if not values.requires_grad:  # it depends on none of them: the decoder has no block that reads the encoder
        yield from [(None,) * len(outputs)] * direction_count(values, fisher_samples, answer.law)
        return
    last = direction_count(values, fisher_samples, answer.law) - 1
    for number, direction in enumerate(directions(values.detach(), fisher_samples, numbers, answer.law)):
        factor = direction.to(values.device).mul_(scale_of(values.dtype)).mul_(answer.counts[..., None])
        yield torch.autograd.grad(
            values, outputs, factor.to(values.dtype), retain_graph=number < last, allow_unused=True
        )
