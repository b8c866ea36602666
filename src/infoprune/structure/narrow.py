"""Narrow: layers that keep a subset of the coordinates of the residual stream, for a hidden size per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from infoprune.errors import InputError

COORDINATES = "stream_coordinates"
"""Name of a layer's buffer with the coordinates that it keeps, which is saved with the weights."""
Hook = tuple[tuple[Any, ...], dict[str, Any]]


def is_narrowed(model: nn.Module) -> bool:
    """Return whether some layer of the model keeps fewer coordinates than it gets."""
    return any(COORDINATES in module._buffers for module in model.modules())


def steps_between(
    entries: Mapping[str, str], kept: Mapping[str, Sequence[int]], units: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Return, by path, which of its input coordinates each layer keeps; layers that keep all are left out.

    Args:
        entries: Paths of all layers by name of the site with their hidden size, bottom to top.
        kept: Kept coordinates by site name; a layer that is not named keeps all.
        units: Coordinates before the cut by site name.

    Raises:
        InputError: If a layer keeps a coordinate that a layer below has dropped.

    Examples:
        >>> entries = {"layers.0.hidden-size": "a", "layers.1.hidden-size": "b"}
        >>> steps_between(entries, {"layers.1.hidden-size": (0, 2)}, {"layers.1.hidden-size": 3})
        {'b': (0, 2)}
    """
    widest = max((units[name] for name in entries if name in units), default=0)
    found = {}
    below: Sequence[int] | None = None
    for name, path in entries.items():
        here = kept.get(name, range(widest))
        below = here if below is None else below
        if not {*here} <= {*below}:
            raise InputError(
                f"the plan keeps coordinates in {name} that a layer below it has dropped, expected some of those that "
                "are left: a layer cannot have more coordinates than the layer below"
            )
        if len(here) < len(below):
            position = {coordinate: index for index, coordinate in enumerate(below)}
            found[path] = tuple(position[coordinate] for coordinate in here)
        below = here
    return found


def narrow(layer: nn.Module, coordinates: Int[Tensor, " k"]) -> None:
    """Make a layer keep only these coordinates of its input; its weights must have this hidden size already."""
    layer.register_buffer(COORDINATES, coordinates)
    layer.register_forward_pre_hook(_enter, with_kwargs=True)


def narrow_layers(
    model: nn.Module, entries: Mapping[str, str], kept: Mapping[str, Sequence[int]], units: Mapping[str, int]
) -> None:
    """Make every layer of a model keep only the coordinates that the plan keeps there, in place.

    Args:
        model: Model whose weights are cut already.
        entries: As for `steps_between`.
        kept: As for `steps_between`.
        units: As for `steps_between`.

    Raises:
        InputError: As for `steps_between`.
    """
    for path, coordinates in steps_between(entries, kept, units).items():
        narrow(model.get_submodule(path), torch.tensor(coordinates, dtype=torch.long, device=_device(model)))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _enter(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hook:
    """Select the coordinates of the stream: the layer's first argument, or the one that is named hidden_states."""
    coordinates = layer.get_buffer(COORDINATES)
    if args:
        return (_some(args[0], coordinates), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": _some(kwargs["hidden_states"], coordinates)}


def _some(stream: Tensor, coordinates: Int[Tensor, " k"]) -> Tensor:
    return stream.index_select(-1, coordinates.to(stream.device))
