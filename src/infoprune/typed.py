"""Typed: what JSON has given, as a dataclass, every value being of the type that its annotation says."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

LARGEST = 1 << 63


def typed(kind: type[T], value: object, where: str = "it") -> T:
    """A value of a type; dataclasses are built from objects with their fields and no others, tuples from arrays.

    Args:
        kind: a dataclass, a tuple of equal parts or of one part each, a dict by str, int, float, str, bool, or one of
            these or None. An int is of 64 bits, a float finite or infinite.
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
        return _object(kind, value, where)
    if get_origin(kind) is tuple:
        return _array(get_args(kind), value, where)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no object")
        return {name: _typed(get_args(kind)[1], each, f"{where}.{name}") for name, each in value.items()}
    if kind is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if type(value) is not kind or (kind is float and math.isnan(value)) or (kind is int and abs(value) >= LARGEST):
        raise ValueError(f"{where} is {value!r:.40}, expected {kind.__name__}")
    return value


def _object(kind: Any, value: Any, where: str) -> object:  # noqa: ANN401
    names = {field.name: field for field in fields(kind)}
    needed = {name for name, field in names.items() if field.default is MISSING and field.default_factory is MISSING}
    if not isinstance(value, dict) or not needed <= value.keys() <= names.keys():
        raise ValueError(f"{where} is no object with {', '.join(sorted(names))}")
    hints = get_type_hints(kind)
    return kind(**{name: _typed(hints[name], each, f"{where}.{name}") for name, each in value.items()})


def _array(inner: tuple[Any, ...], value: Any, where: str) -> object:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError(f"{where} is no array")
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
    if len(kinds) != len(value):
        raise ValueError(f"{where} has {len(value)} parts, expected {len(kinds)}")
    return tuple(_typed(kind, each, f"{where}[{at}]") for at, (kind, each) in enumerate(zip(kinds, value, strict=True)))
