"""Position bias: a layer's columns of a bias of the attention scores that all layers of a stack share.

The shared table keeps the columns of all heads, because every layer may keep others. A layer has an index of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from infoprune.structure.headless_attention import HeadlessAttention
from infoprune.structure.site import SharedBias

BIAS_HEADS = "position_bias_heads"
"""Name of a module's buffer with the columns of the heads that it keeps, which is saved with the weights."""
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class OwnBias:
    """Method of an attention module that computes the bias of its own heads, instead of that of all heads.

    Args:
        module: Attention module.
        method: Name of the method of its class that computes the bias of all heads.
    """

    module: nn.Module
    method: str

    def __call__(self, *args: object, device: Any = None, **kwargs: Any) -> Float[Tensor, "_ heads queries keys"]:  # noqa: ANN401
        """Return the bias; the arguments are those of the method of the class."""
        bias: Tensor = getattr(type(self.module), self.method)(self.module, *args, device=device, **kwargs)
        return _own_columns(self.module, bias).to(device)


@dataclass(frozen=True)
class OwnColumns:
    """Hook that gives an attention module the columns of its own heads.

    Args:
        argument: Argument of the module that has the columns of all heads.
        joined: Number of columns of a text where the argument has one axis for those of all texts; 0 where they have an
            axis of their own, after that of the texts.
    """

    argument: str
    joined: int

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """Return the arguments with which the module is called instead; None for those that it has."""
        bias = kwargs.get(self.argument)
        if bias is None:
            return None
        if not self.joined:
            return args, {**kwargs, self.argument: _own_columns(module, bias)}
        own = _own_columns(module, bias.unflatten(0, (-1, self.joined)))
        return args, {**kwargs, self.argument: own.flatten(0, 1)}


def keep_bias_heads(model: nn.Module, bias: SharedBias, kept: Int[Tensor, " k"]) -> None:
    """Make the attention of one layer add the columns of some of its heads, in place.

    Args:
        model: The model.
        bias: The bias as this layer gets it.
        kept: Numbers of the heads that stay, among those that the layer has now; none where its attention is removed.
    """
    for path in bias.receivers:
        _compute_alone(model, path, bias)
    if bias.columns == 0:
        return
    module = model.get_submodule(bias.module)
    before = module._buffers.get(BIAS_HEADS)
    if len(kept) == 0:
        module._buffers.pop(BIAS_HEADS, None)
        return
    hook = OwnColumns(bias.argument, bias.columns if bias.table is None else 0)
    if not bias.receivers and hook not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(hook, with_kwargs=True)
    beside = next(module.parameters()) if bias.table is None else model.get_parameter(f"{bias.table}.weight")
    index = kept.to(beside.device) if before is None else before[kept.to(before.device)]
    module.register_buffer(BIAS_HEADS, index)


def _compute_alone(model: nn.Module, path: str, bias: SharedBias) -> None:
    """Make an attention module compute its bias, instead of getting that of the layer below, which has other heads."""
    module = model.get_submodule(path)
    if isinstance(module, HeadlessAttention) or _leave_out in module._forward_pre_hooks.values():
        return
    module.register_forward_pre_hook(_leave_out, with_kwargs=True)
    if bias.table is None or bias.method is None or bias.flag is None:
        return  # without a table it computes zeros
    name = bias.table.rpartition(".")[2]
    if name not in module._modules:
        # no submodule: the table belongs to the first layer, and a name for it in every layer would be saved
        vars(module)[name] = model.get_submodule(bias.table)
    setattr(module, bias.flag, True)
    setattr(module, bias.method, OwnBias(module, bias.method))


def _leave_out(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    return args, {**kwargs, "position_bias": None}


def _own_columns(module: nn.Module, bias: Tensor) -> Tensor:
    index = module._buffers.get(BIAS_HEADS)
    return bias if index is None else bias.index_select(1, index.to(bias.device))
