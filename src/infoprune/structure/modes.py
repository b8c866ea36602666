"""Modes: training or evaluation, module by module, and what is restored after a computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from infoprune.structure.outputs import plain_outputs

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def ordinary_mode() -> Iterator[None]:
    """Compute within the block as torch does by itself, whatever the caller has set around it.

    Gradients are recorded, also under ``torch.inference_mode()`` and ``torch.no_grad()``; products are in the precision
    of their factors, without autocast; new tensors are float32 on the CPU unless something else is said. So the result
    is the same in every surrounding, and nothing that is made can be used for inference only.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    with ExitStack() as around:
        around.enter_context(torch.inference_mode(False))
        around.enter_context(torch.enable_grad())
        for device_type in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device_type):
                around.enter_context(torch.autocast(device_type, enabled=False))
        if device != torch.device("cpu"):
            around.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            around.callback(torch.set_default_dtype, dtype)
        yield


def in_ordinary_mode(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that runs in `ordinary_mode`.

    Examples:
        >>> @in_ordinary_mode
        ... def slope(x: Tensor) -> Tensor:
        ...     return torch.autograd.grad(x.detach().requires_grad_().square().sum(), x)[0]
    """

    @wraps(function)
    def run(*given: P.args, **named: P.kwargs) -> T:
        with ordinary_mode():
            return function(*given, **named)

    return run


@contextmanager
def evaluation_mode(*models: nn.Module, freeze: bool = False) -> Iterator[None]:
    """Put models into evaluation mode within the block, and leave every submodule as it was afterwards.

    Fields of their configs that change what a pass returns are at their defaults within it, see `plain_outputs`.

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
        with plain_outputs(*models):
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


@contextmanager
def learning(model: nn.Module) -> Iterator[None]:
    """Let all parameters of a model ask for gradients within the block where none does, as after loading for use.

    A model with some frozen parameters keeps them frozen.
    """
    frozen = list(model.parameters())
    frozen = [] if any(each.requires_grad for each in frozen) else frozen
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
