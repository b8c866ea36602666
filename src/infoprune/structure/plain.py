"""Plain: the model of transformers inside what others put around it, or the reason why it cannot be saved."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.structure.offload import is_offloaded

COMPILED = "_orig_mod"
"""Name of the model within the module that torch.compile returns."""


def plain_model(model: nn.Module) -> PreTrainedModel:
    """Return a model as it can be saved: the module that torch.compile has wrapped, or else the model itself.

    Raises:
        InputError: It is wrapped for several processes, is no model of transformers, has adapters, is quantised, or has
            no values.
    """
    model = dict(model.named_children()).get(COMPILED, model)
    if isinstance(model, DataParallel | DistributedDataParallel):
        raise InputError(
            f"the model is wrapped in {type(model).__name__}, expected the model itself; pass model.module"
        )
    origins = {type(module).__module__.partition(".")[0] for module in model.modules()}
    if "peft" in origins:
        raise InputError(
            f"the {type(model).__name__} has adapters of peft, expected a model without; call merge_and_unload() of "
            "its PeftModel first and pass what it returns, or save the adapters alone with its save_pretrained"
        )
    if not isinstance(model, PreTrainedModel):
        raise InputError(
            f"`model` is a {type(model).__name__}, expected a model of transformers; pass the model inside it"
        )
    if _sharded(model):
        raise InputError(
            "the weights are sharded over processes, expected all of them in one; gather them first, for example with "
            "trainer.save_model and FULL_STATE_DICT, and open that folder"
        )
    if _quantised(model):
        raise InputError(
            f"the {type(model).__name__} is quantised, expected weights in floating point; save the model before "
            "quantising it, and quantise after loading"
        )
    if not is_offloaded(model) and any(parameter.is_meta for parameter in model.parameters()):
        raise InputError(
            f"the {type(model).__name__} is on the meta device and has no values, expected weights; load them with "
            "infoprune.load"
        )
    return model


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
