"""Typed: convert JSON to a dataclass, with every value of its annotated type."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

LARGEST = 1 << 63


def typed(annotation: type[T], value: object, where: str = "it") -> T:
    """Convert a JSON value to a type: objects with exactly its fields to a dataclass, arrays to tuples.

    Args:
        annotation: A dataclass, a tuple of equal parts or of one part each, a dict with keys of type str, int, float,
            str, bool, or one of some of these or None. An int has at most 64 bits, a float is finite or infinite.
        value: Value from json.loads.
        where: Name of the value in the message.

    Raises:
        ValueError: A value is of another type; the message names it.

    Examples:
        >>> typed(tuple[int, ...], [1, 2])
        (1, 2)
    """
    found: Any = _typed(annotation, value, where)
    return found  # type: ignore[no-any-return]


def _typed(annotation: Any, value: Any, where: str) -> object:  # noqa: ANN401  any type, any JSON
    if get_origin(annotation) is UnionType:
        if value is None and type(None) in get_args(annotation):
            return None
        types = [each for each in get_args(annotation) if each is not type(None)]
        annotation = next((each for each in types if type(value) is each), types[0])
    if is_dataclass(annotation) and isinstance(annotation, type):
        return _object(annotation, value, where)
    if get_origin(annotation) is tuple:
        return _array(get_args(annotation), value, where)
    if get_origin(annotation) is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no object")
        return {name: _typed(get_args(annotation)[1], each, f"{where}.{name}") for name, each in value.items()}
    if annotation is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if (
        type(value) is not annotation
        or (annotation is float and math.isnan(value))
        or (annotation is int and abs(value) >= LARGEST)
    ):
        raise ValueError(f"{where} is {value!r:.40}, expected {annotation.__name__}")
    return value


def _object(annotation: Any, value: Any, where: str) -> object:  # noqa: ANN401
    names = {field.name: field for field in fields(annotation)}
    needed = {name for name, field in names.items() if field.default is MISSING and field.default_factory is MISSING}
    if not isinstance(value, dict) or not needed <= value.keys() <= names.keys():
        raise ValueError(f"{where} is no object with {', '.join(sorted(names))}")
    hints = get_type_hints(annotation)
    return annotation(**{name: _typed(hints[name], each, f"{where}.{name}") for name, each in value.items()})


def _array(inner: tuple[Any, ...], value: Any, where: str) -> object:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError(f"{where} is no array")
    parts = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
    if len(parts) != len(value):
        raise ValueError(f"{where} has {len(value)} parts, expected {len(parts)}")
    return tuple(
        _typed(annotation, each, f"{where}[{at}]")
        for at, (annotation, each) in enumerate(zip(parts, value, strict=True))
    )
