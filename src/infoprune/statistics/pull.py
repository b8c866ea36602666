"""Pull: the signal of the softmax, brought down to activations by one backward pass for every direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.statistics.answer import Answer
from infoprune.statistics.demand import directions
from infoprune.statistics.precision import exact


def pulled(
    answer: Answer, draws: int, generator: torch.Generator, outputs: Sequence[Tensor]
) -> Iterator[Iterator[Float[Tensor, ...]]]:
    """For every direction the gradients, in float64, with respect to some activations.

    Args:
        answer: of a model, with gradient.
        draws: samples where the directions are drawn.
        generator: of those.
        outputs: what the answer was computed from.
    """
    values = answer.values
    # half precision: the gradients of a sure prediction are tiny, a power of two brings them into range exactly
    scale = 2.0**12 if values.dtype == torch.float16 else 1.0
    for direction in directions(values.detach(), draws, generator, answer.law):
        factor = direction.to(values.device).mul_(scale).mul_(answer.counts[..., None])
        objective = (values * factor.to(values.dtype)).sum()
        gradients = torch.autograd.grad(objective, outputs, retain_graph=True)
        yield (exact(gradient).div(scale) for gradient in gradients)
