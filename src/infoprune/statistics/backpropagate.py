"""Backpropagate: carry the Fisher information of the softmax to activations, one backward pass per direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.statistics.answer import Answer
from infoprune.statistics.fisher import directions
from infoprune.statistics.precision import exact


def backpropagate(
    answer: Answer, fisher_samples: int, generator: torch.Generator, outputs: Sequence[Tensor]
) -> Iterator[Iterator[Float[Tensor, ...]]]:
    """Yield, for every direction, the gradients with respect to some activations, in float64.

    Args:
        answer: Distribution that a model predicts, with gradient.
        fisher_samples: Number of samples where the directions are sampled.
        generator: Generator of these samples.
        outputs: Activations that the answer was computed from.
    """
    values = answer.values
    # half precision: a confident prediction has tiny gradients, which a power of two brings into range exactly
    scale = 2.0**12 if values.dtype == torch.float16 else 1.0
    for direction in directions(values.detach(), fisher_samples, generator, answer.law):
        factor = direction.to(values.device).mul_(scale).mul_(answer.counts[..., None])
        objective = (values * factor.to(values.dtype)).sum()
        if objective.requires_grad:
            gradients = torch.autograd.grad(objective, outputs, retain_graph=True, materialize_grads=True)
        else:  # the answer depends on none of them: the decoder has no block that reads the encoder
            gradients = tuple(torch.zeros_like(output) for output in outputs)
        yield (exact(gradient).div(scale) for gradient in gradients)
