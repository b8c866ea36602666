"""Plain: the model of transformers inside what others put around it, or the reason why it cannot be saved."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.structure.offload import is_offloaded

P = ParamSpec("P")
T = TypeVar("T")

OPEN = "open one with infoprune.load"
COMPILED = "_orig_mod"
"""Name of the model within the module that torch.compile returns."""


def plain_model(model: object) -> PreTrainedModel:
    """Return a model with its weights: the module that torch.compile has wrapped, or else the model itself.

    Raises:
        InputError: It is wrapped for several processes, is no model of transformers, has adapters, is quantised, or has
            no values.
    """
    plain = transformers_model(model)
    if _quantised(plain):
        raise InputError(
            f"the {type(plain).__name__} is quantised, expected weights in floating point; pass the model as it was "
            "before quantising, and quantise what comes out"
        )
    check_values(plain)
    return plain


def check_values(*models: object) -> None:
    """Raise InputError where models of any class cannot run: they are none, or have no values."""
    for model in models:
        if not isinstance(model, nn.Module):
            raise InputError(f"`model` is a {type(model).__name__}, expected a model; {OPEN}")
        if not is_offloaded(model) and any(parameter.is_meta for parameter in model.parameters()):
            raise InputError(
                f"the {type(model).__name__} is on the meta device and has no values, expected weights; load them with "
                "infoprune.load"
            )


def transformers_model(model: object) -> PreTrainedModel:
    """Return a model, with values or without: the module that torch.compile has wrapped, or else the model itself.

    Raises:
        InputError: It is wrapped for several processes, is no model of transformers, or has adapters.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"`model` is a {type(model).__name__}, expected a model of transformers; {OPEN}")
    model = dict(model.named_children()).get(COMPILED, model)
    if isinstance(model, DataParallel | DistributedDataParallel):
        raise InputError(
            f"the model is wrapped in {type(model).__name__}, expected the model itself; pass model.module"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            "the model is compiled by torch.jit, and cannot be cut or saved again, expected a model of transformers; "
            "pass the model that it was made from"
        )
    if _sharded(model):
        raise InputError(
            "the weights are sharded over processes, expected all of them in one; gather them first, for example with "
            "trainer.save_model and FULL_STATE_DICT, and open that folder"
        )
    origins = {type(module).__module__.partition(".")[0] for module in model.modules()}
    if "peft" in origins:
        raise InputError(
            f"the {type(model).__name__} has adapters of peft, expected a model without; call merge_and_unload() of "
            "its PeftModel first and pass what it returns, or save the adapters alone with its save_pretrained"
        )
    if not isinstance(model, PreTrainedModel):
        inner = next((name for name, each in model.named_modules() if isinstance(each, PreTrainedModel)), None)
        remedy = OPEN if inner is None else f"pass the model inside it, model.{inner}"
        raise InputError(f"`model` is a {type(model).__name__}, expected a model of transformers; {remedy}")
    return model


def on_plain_model(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that gets `plain_model` of its first argument, and so refuses what it cannot work on.

    Examples:
        >>> @on_plain_model
        ... def count(model: PreTrainedModel) -> int:
        ...     return sum(parameter.numel() for parameter in model.parameters())
    """
    return _on(plain_model, function)


def on_transformers_model(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that gets `transformers_model` of its first argument; what is a model already is not checked.

    Examples:
        >>> @on_transformers_model
        ... def type_of(model: PreTrainedModel) -> str:
        ...     return model.config.model_type
    """
    return _on(lambda model: model if isinstance(model, PreTrainedModel) else transformers_model(model), function)


def _on(choose: Callable[[object], PreTrainedModel], function: Callable[P, T]) -> Callable[P, T]:
    first = next(iter(signature(function).parameters))

    @wraps(function)
    def run(*given: P.args, **named: P.kwargs) -> T:
        arguments: list[Any] = list(given)
        options: dict[str, Any] = dict(named)
        if arguments:
            arguments[0] = choose(arguments[0])
        elif first in options:
            options[first] = choose(options[first])
        return function(*arguments, **options)

    return run


def _sharded(model: nn.Module) -> bool:
    names = {each.__name__ for module in model.modules() for each in type(module).__mro__}
    return bool(names & {"FullyShardedDataParallel", "FSDPModule"})


def _quantised(model: PreTrainedModel) -> bool:
    places = (type(module).__module__ for module in model.modules())
    if any(place.startswith(("torch.ao.", "torch.nn.quantized", "bitsandbytes")) for place in places):
        return True
    # torchao keeps the module and replaces its weight by a tensor of a class of its own
    return any(
        type(parameter.data) is not torch.Tensor or not parameter.is_floating_point()
        for parameter in model.parameters()
    )
