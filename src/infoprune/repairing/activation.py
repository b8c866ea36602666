"""Activation: the function between the producers of neurons and their reader, found by its values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.activations import ACT2FN

from infoprune.processes import add_up
from infoprune.statistics.precision import exact

ROUNDING = 1e-2
"""Largest relative error, by rounding to bfloat16, of neurons that an activation function computes."""

USUAL = ("gelu", "gelu_new", "silu", "relu")
"""Functions that some models have without a field in their config that says so, such as ESM, BLOOM and LFM2."""

ActivationFunction = Callable[[Sequence[Tensor]], Tensor]
"""Neurons, (tokens, m), from the outputs of their parts, each (tokens, m)."""


def activation_between(
    config: PretrainedConfig, writes: Sequence[Tensor], neurons: Tensor
) -> ActivationFunction | None:
    """Find the function that computes the neurons from the outputs of their parts, by trying some.

    Args:
        config: Config of the model; its activation functions are tried, and then usual ones: not every config names it.
        writes: Outputs of each part, (tokens, m).
        neurons: Inputs of the reader, (tokens, m).

    Returns:
        act(a), act(a) b or a act(b); None where none of these gives the neurons.
    """
    acts = [
        cast(Callable[[Tensor], Tensor], ACT2FN[name])
        for name in dict.fromkeys((*_activations(config.to_dict()), *USUAL))
    ]
    tried = [activation for act in acts for activation in (_gated(act) if len(writes) == 2 else _alone(act))]
    squares = torch.stack(
        [exact(each).square().sum() for each in (neurons, *(activation(writes) - neurons for activation in tried))]
    )
    add_up(squares)  # so that all processes find the same function
    size, *errors = squares.tolist()
    best = min(range(len(tried)), key=errors.__getitem__, default=None)
    return None if best is None or errors[best] > ROUNDING**2 * size else tried[best]


def slopes_of(activation: ActivationFunction, writes: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the neurons and their derivatives by each part's outputs; a neuron depends on its own outputs alone."""
    with torch.enable_grad():
        free = [each.detach().requires_grad_() for each in writes]
        hidden = activation(free)
        slopes = torch.autograd.grad(hidden.sum(), free)
    return hidden.detach(), list(slopes)


def _alone(act: Callable[[Tensor], Tensor]) -> Iterator[ActivationFunction]:
    yield lambda each: act(each[0])


def _gated(act: Callable[[Tensor], Tensor]) -> Iterator[ActivationFunction]:
    yield lambda each: act(each[0]) * each[1]
    yield lambda each: each[0] * act(each[1])


def _activations(fields: Mapping[Any, object]) -> list[str]:
    """Return the names of activation functions in a config and in the configs within it."""
    found: dict[str, None] = {}
    for value in fields.values():
        if isinstance(value, str) and value in ACT2FN:
            found[value] = None
        elif isinstance(value, dict):
            found |= dict.fromkeys(_activations(value))
    return list(found)
