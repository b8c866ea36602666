"""Modes: training or evaluation, module by module, and what is restored after a computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(*models: nn.Module, freeze: bool = False) -> Iterator[None]:
    """Put models into evaluation mode within the block, and leave every submodule as it was afterwards.

    Args:
        models: Models whose submodules may be in different modes, e.g. with frozen batch statistics.
        freeze: Also let no parameter ask for gradients within the block.

    Examples:
        >>> with evaluation_mode(model):
        ...     model.training
        False
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    asking = [(each, each.requires_grad) for model in models for each in model.parameters()] if freeze else []
    try:
        for model in models:
            model.eval()
        for parameter, _ in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, asks in asking:
            parameter.requires_grad_(asks)


def copy_modes(source: nn.Module, target: nn.Module) -> None:
    """Give every submodule of one model the mode of its counterpart in another of the same structure."""
    for module, given in zip(target.modules(), source.modules(), strict=True):
        module.training = given.training
