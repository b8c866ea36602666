"""Typed: what JSON has given, as a dataclass, every value being of the type that its field says."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def typed(kind: type[T], value: object, where: str = "it") -> T:
    """A value of a type; dataclasses are built from objects with exactly their fields, tuples from arrays.

    Args:
        kind: a dataclass, a tuple of any length, int, float, str, bool, or one of these or None.
        value: from json.loads.
        where: what the value is called in the message.

    Raises:
        ValueError: something is of another type; the message says where.

    Example:
        >>> typed(tuple[int, ...], [1, 2])
        (1, 2)
    """
    found: Any = _typed(kind, value, where)
    return found  # type: ignore[no-any-return]


def _typed(kind: Any, value: Any, where: str) -> object:  # noqa: ANN401  any type, any JSON
    if get_origin(kind) is UnionType:
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    if is_dataclass(kind) and isinstance(kind, type):
        names = {field.name for field in fields(kind)}
        if not isinstance(value, dict) or value.keys() != names:
            raise ValueError(f"{where} is no object with {', '.join(sorted(names))}")
        hints = get_type_hints(kind)
        return kind(**{name: _typed(hints[name], value[name], f"{where}.{name}") for name in names})
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is no array")
        inner = get_args(kind)[0]
        return tuple(_typed(inner, each, f"{where}[{index}]") for index, each in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (kind is float and math.isnan(value)):
        raise ValueError(f"{where} is {value!r:.40}, expected {kind.__name__}")
    return value
