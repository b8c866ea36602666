"""Offload: models whose weights accelerate's device_map keeps in main memory or on disk until they are needed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.hooks import remove_hook_from_submodules
from accelerate.utils import align_module_device
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from transformers import PreTrainedModel

from infoprune.structure.outputs import set_plain

DISPATCHED = "hf_device_map"
"""Name of the attribute by which a model shows that accelerate has dispatched it."""


def is_offloaded(model: nn.Module) -> bool:
    """Return whether some weights lie in main memory or on disk and are loaded when their module is called."""
    return DISPATCHED in vars(model) and any(parameter.is_meta for parameter in model.parameters())


@contextmanager
def present(model: nn.Module, path: str) -> Iterator[None]:
    """Load the weights of one module for the duration of a block; outside of it they may be offloaded."""
    with align_module_device(model.get_submodule(path)):
        yield


def load_into_memory(model: PreTrainedModel) -> PreTrainedModel:
    """Load all weights of an offloaded model into main memory, in place; leave any other model as it is."""
    if not is_offloaded(model):
        return model
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        with align_module_device(module):
            tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            found |= {f"{path}.{name}" if path else name: tensor.detach().cpu().clone() for name, tensor in tensors}
    remove_hook_from_submodules(model)
    for path, tensor in found.items():
        parent, _, name = path.rpartition(".")
        module = model.get_submodule(parent)
        before = getattr(module, name)
        kept = nn.Parameter(tensor, requires_grad=before.requires_grad) if isinstance(before, nn.Parameter) else tensor
        setattr(module, name, kept)
    delattr(model, DISPATCHED)
    model.tie_weights()
    return model


def shape_only_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy with shapes but without values, apparently on the CPU: it runs without computing, to count.

    The meta device fails where a model branches on values (is this mask all ones?). With fake tensors the model takes
    another branch there, and they choose the same attention kernel as real tensors.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        memo: dict[int, object] = {id(vars(module).get("_hf_hook")): None for module in model.modules()}
        for tensor in (*model.parameters(), *model.buffers()):
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if parameter else empty
        copied = copy.deepcopy(model, memo)
    set_plain(copied)
    vars(copied).pop(DISPATCHED, None)
    for module in copied.modules():
        for name in ("_hf_hook", "_old_forward", "forward"):
            vars(module).pop(name, None)
    return copied
