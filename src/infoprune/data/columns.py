"""Columns: one column of a table as texts or as labels, with messages that name its row."""

import math
import re
from collections.abc import Mapping

from infoprune.errors import InputError

Table = Mapping[str, list[object]]


def given_as(value: object) -> str:
    """Return what a message says of a value that is no text."""
    return "is null" if is_missing(value) else f"holds {value!r:.40} ({type(value).__name__})"


def is_missing(value: object) -> bool:
    """Return whether a value is null or no number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def remedy_for(value: object) -> str:
    """Return what a message advises for a value that is no text."""
    if isinstance(value, list | tuple | dict):
        return "join it to one text, e.g. with tokenizer.apply_chat_template for messages"
    return "fill or remove the row" if is_missing(value) else "write it as a text, in quotes"


def column_named(table: Table, source: str, name: str, argument: str) -> str:
    """Return the name of a column; raise InputError, with the argument that names it, where there is none."""
    if name not in table:
        raise InputError(
            f"{source}: no column {name!r}, there are {names_of_columns(table)}; pass one of them as `{argument}`"
        )
    return name


def strings_in(table: Table, source: str, column: str) -> tuple[str, ...]:
    """Return the texts of a column; raise InputError, with its row, for a value that is none."""
    strings: list[str] = []
    for number, given in enumerate(table[column], start=1):
        value = _joined(given) if isinstance(given, list) and all(isinstance(each, str) for each in given) else given
        if not isinstance(value, str):
            raise InputError(
                f"{source}: row {number} {given_as(value)} in column {column!r}, expected a text; {remedy_for(value)}"
            )
        strings.append(value)
    return tuple(strings)


def labels_in(table: Table, source: str, column: str, required: bool) -> tuple[str, ...] | None:
    """Return the labels of a column as texts; None where some are missing and they are not required."""
    labels: list[str] = []
    for number, value in enumerate(map(_joined, table[column]), start=1):
        if value == "" or is_missing(value):
            if not required:
                # Calibration needs only texts, so partly labelled files are accepted.
                return None
            raise InputError(f"{source}: row {number} has no label in column {column!r}; fill or remove the row")
        labels.append(_label(value))
    return tuple(labels)


def _joined(value: object) -> object:
    """Join a list of words, or of their tags, to one text."""
    return " ".join(map(str, value)) if isinstance(value, list) and value else value


def _label(value: object) -> str:
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


def names_of_columns(table: Table) -> str:
    """Return the names of all columns, quoted."""
    return ", ".join(map(repr, table))
