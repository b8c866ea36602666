"""Narrow: a layer that goes on with some of the coordinates of the residual stream that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from infoprune.errors import InputError

COORDINATES = "stream_coordinates"
"""A layer's buffer, which is not saved: a plan says the same."""
Hook = tuple[tuple[Any, ...], dict[str, Any]]


def is_narrowed(model: nn.Module) -> bool:
    """Whether some layer of the model goes on with fewer coordinates than it is given."""
    return any(COORDINATES in module._buffers for module in model.modules())


def steps_between(
    entries: Mapping[str, str], kept: Mapping[str, Sequence[int]], units: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """By path of the layer, which of the coordinates that it is given a layer goes on with; only where it drops some.

    Args:
        entries: paths of all layers by name of the site that is their width, bottom to top.
        kept: coordinates that stay, by name of the site; a layer that is not named keeps all.
        units: how many there were, by name of the site.

    Raises:
        InputError: a layer is to go on with what a layer below has dropped.

    Example:
        >>> steps_between({"layers.0.width": "a", "layers.1.width": "b"}, {"layers.1.width": (0, 2)}, ...)
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
                "are left there: the stream can only get narrower on its way up"
            )
        if len(here) < len(below):
            position = {coordinate: index for index, coordinate in enumerate(below)}
            found[path] = tuple(position[coordinate] for coordinate in here)
        below = here
    return found


def narrow(layer: nn.Module, coordinates: Int[Tensor, " k"]) -> None:
    """Lets a layer drop all other coordinates of the stream as it comes in; the layer itself has to be as narrow."""
    layer.register_buffer(COORDINATES, coordinates, persistent=False)
    layer.register_forward_pre_hook(_enter, with_kwargs=True)


def narrow_layers(
    model: nn.Module, entries: Mapping[str, str], kept: Mapping[str, Sequence[int]], units: Mapping[str, int]
) -> None:
    """Makes every layer of a model whose weights are cut go on with the coordinates that stay there, in place.

    Args:
        model: whose weights are cut already.
        entries: as for `steps_between`, as are the rest.
        kept: likewise.
        units: likewise.

    Raises:
        InputError: likewise.
    """
    for path, coordinates in steps_between(entries, kept, units).items():
        narrow(model.get_submodule(path), torch.tensor(coordinates, dtype=torch.long, device=_device(model)))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _enter(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hook:
    """The stream is a layer's first argument, or has the name that transformers gives it."""
    coordinates = layer.get_buffer(COORDINATES)
    if args:
        return (_some(args[0], coordinates), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": _some(kwargs["hidden_states"], coordinates)}


def _some(stream: Tensor, coordinates: Int[Tensor, " k"]) -> Tensor:
    return stream.index_select(-1, coordinates.to(stream.device))
