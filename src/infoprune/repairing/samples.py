"""Samples of a step's regression: what a module reads in the pruned model, and what it is fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from infoprune.repairing.lockstep import PausedPass
from infoprune.repairing.refit_steps import RefitStep
from infoprune.repairing.ridge import Samples
from infoprune.statistics.huber import huber_weights
from infoprune.structure.linear import linear
from infoprune.structure.offload import present
from infoprune.structure.scale import output_scale


def samples_of(
    step: RefitStep,
    small: PreTrainedModel,
    dense: PreTrainedModel,
    paused: Sequence[PausedPass],
    wanted: Sequence[PausedPass],
    weights: Sequence[Tensor],
    huber: bool,
) -> Iterator[Samples]:
    """Yield the samples of a step batch by batch, so that targets need not be held.

    Args:
        step: The step.
        small: The pruned model.
        dense: The dense model.
        paused: Passes of the pruned model, at the step or at another that reads the same tensor.
        wanted: Passes of the dense model.
        weights: Weights of the tokens.
        huber: Whether tokens with a long input or error get smaller weights, see `huber_weights`.
    """
    targets = _outputs(step, dense, wanted) if step.early else _totals(step, wanted)
    for each, target, weight in zip(paused, targets, weights, strict=True):
        present_output = _output(step, small, each.x) if step.is_linear else each.y
        target = target.to(present_output.device)
        residual = each.residual if step.is_linear else each.total - each.y
        target = target if residual is None else target - residual
        yield (
            each.y if step.norm else each.x,
            target,
            _weights(weight, each.x, target - present_output, huber),
        )


def _totals(step: RefitStep, wanted: Sequence[PausedPass]) -> Iterator[Tensor]:
    """Yield what the dense module has given, with the residual, at the outputs that are left."""
    for each in wanted:
        yield each.total if step.kept_outputs is None else each.total[..., step.kept_outputs.to(each.total.device)]


def _outputs(step: RefitStep, dense: PreTrainedModel, wanted: Sequence[PausedPass]) -> Iterator[Tensor]:
    """Yield what the dense module is going to give, at the outputs that are left."""
    with present(dense, step.module):
        module = linear(dense, step.module)
        weight, bias = module.weight, module.bias
        if step.kept_outputs is not None:
            kept = step.kept_outputs.to(weight.device)
            weight, bias = weight[kept], None if bias is None else bias[kept]
        for each in wanted:
            yield functional.linear(each.x.to(weight.device), weight, bias)


def _output(step: RefitStep, small: PreTrainedModel, x: Tensor) -> Tensor:
    """Return what a linear module of the pruned model gives now, times its scale."""
    module = linear(small, step.module)
    scale = output_scale(small, step.module, step.scale)
    y = functional.linear(x, module.weight, module.bias)
    return y if scale is None else y * scale


def _weights(
    weight: Float[Tensor, "batch tokens"],
    x: Float[Tensor, "batch length n"],
    error: Float[Tensor, "batch length o"],
    huber: bool,
) -> Float[Tensor, "batch length"]:
    """Return a weight for every vector: where a head reads one vector per text, the largest weight of the tokens."""
    if x.shape[1] == 1 and weight.shape[1] > 1:
        weight = weight.amax(1, keepdim=True)
    weight = weight.expand(x.shape[:-1]).to(error.device)
    for vectors in (x, error) if huber else ():
        weight = weight * huber_weights(vectors, weight > 0)
    return weight
