"""Typed: a frozen value from JSON that anybody may have written."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def typed(kind: Any, value: object, name: str = "") -> Any:  # noqa: ANN401
    """A value of JSON as an annotation says, or a ValueError that says where it is not.

    Args:
        kind: a dataclass, `dict[str, T]`, `tuple[T, ...]` of fixed length, `T | None`, str, int or float.
        value: from JSON.
        name: of the value, for the error.

    Raises:
        ValueError: the value is of another type, a field is missing or unknown, or a number is beyond float64.

    Example:
        >>> typed(dict[str, tuple[int, int]], {"layers.0.ffn": [3, 8]})
        {'layers.0.ffn': (3, 8)}
    """
    if is_dataclass(kind):
        return _dataclass(kind, value, name)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (kind,) = set(parts) - {NoneType}
        return None if value is None else typed(kind, value, name)
    if origin is dict and isinstance(value, dict):
        return {key: typed(parts[1], item, f"{name}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list) and len(value) == len(parts):
        return tuple(
            typed(part, item, f"{name}.{at}") for at, (part, item) in enumerate(zip(parts, value, strict=True))
        )
    if kind is float and type(value) in (int, float) and abs(value) < 1e300:  # type: ignore[arg-type]
        return value
    if kind is int and type(value) is int and abs(value) < 1 << 63:
        return value
    if kind is str and isinstance(value, str):
        return value
    raise ValueError(f"{name} is {value!s:.40}, expected {getattr(kind, '__name__', kind)}")


def _dataclass(kind: Any, value: object, name: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'it'} is {value!s:.40}, expected an object")
    known = {field.name: field for field in fields(kind)}
    needed = {each for each, field in known.items() if field.default is MISSING and field.default_factory is MISSING}
    if value.keys() - known.keys() or needed - value.keys():
        odd = sorted((value.keys() - known.keys()) | (needed - value.keys()))
        raise ValueError(f"{name or 'it'} lacks or does not know {', '.join(odd):.80}")
    hints = get_type_hints(kind)
    return kind(**{key: typed(hints[key], item, f"{name}.{key}".lstrip(".")) for key, item in value.items()})
