"""Bend: what lies between what writes neurons and what reads them, found by what it does."""

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
"""By which what neurons say may differ in bfloat16 from what an activation makes of it."""

Bend = Callable[[Sequence[Tensor]], Tensor]
"""What neurons say, (tokens, m), given what their parts write, each (tokens, m)."""


def bend_of(config: PretrainedConfig, writes: Sequence[Tensor], neurons: Tensor) -> Bend | None:
    """What a model does between what the parts write and what the reader is given, found by trying.

    Args:
        config: names the activations that come into question.
        writes: of each part, (tokens, m).
        neurons: what came of it, (tokens, m).

    Returns:
        act(a), act(a) b or a act(b); None where it is none of these.
    """
    acts = [cast(Callable[[Tensor], Tensor], ACT2FN[name]) for name in _activations(config.to_dict())]
    tried = [bend for act in acts for bend in (_gated(act) if len(writes) == 2 else _alone(act))]
    squares = torch.stack(
        [exact(each).square().sum() for each in (neurons, *(bend(writes) - neurons for bend in tried))]
    )
    add_up(squares)  # all processes find the same
    size, *errors = squares.tolist()
    best = min(range(len(tried)), key=errors.__getitem__, default=None)
    return None if best is None or errors[best] > ROUNDING**2 * size else tried[best]


def slopes_of(bend: Bend, writes: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """What the neurons say, and its derivative by what each part writes; a neuron's depends on its own alone."""
    with torch.enable_grad():
        free = [each.detach().requires_grad_() for each in writes]
        hidden = bend(free)
        slopes = torch.autograd.grad(hidden.sum(), free)
    return hidden.detach(), list(slopes)


def _alone(act: Callable[[Tensor], Tensor]) -> Iterator[Bend]:
    yield lambda each: act(each[0])


def _gated(act: Callable[[Tensor], Tensor]) -> Iterator[Bend]:
    yield lambda each: act(each[0]) * each[1]
    yield lambda each: each[0] * act(each[1])


def _activations(fields: Mapping[Any, object]) -> list[str]:
    """All names of activations in a config and in the configs in it."""
    found: dict[str, None] = {}
    for value in fields.values():
        if isinstance(value, str) and value in ACT2FN:
            found[value] = None
        elif isinstance(value, dict):
            found |= dict.fromkeys(_activations(value))
    return list(found)
