"""Texts: read texts, second texts and labels from a file."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infoprune.data.tables import Table, read_table
from infoprune.errors import InputError


@dataclass(frozen=True)
class TextData:
    """Texts with optional second texts and labels, row by row.

    Args:
        texts: First text of each input.
        pairs: Second text of each input, for tasks on two texts; or None.
        labels: Label of each input as a string; integers and integral floats are written like ``"1"``; or None.
        source: Name of the file or other source, for messages and reports.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    source: str

    def __post_init__(self) -> None:
        for name, column in (("pairs", self.pairs), ("labels", self.labels)):
            if column is not None and len(column) != len(self.texts):
                raise InputError(
                    f"{self.source}: {len(column)} {name} for {len(self.texts)} texts, expected as many; "
                    "pass one for each text or None"
                )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.texts)

    def among(self, rows: Sequence[int]) -> "TextData":
        """Return the rows with the given numbers, in the given order."""
        chosen = [None if of is None else tuple(of[row] for row in rows) for of in (self.pairs, self.labels)]
        return TextData(tuple(self.texts[row] for row in rows), chosen[0], chosen[1], self.source)


def read_texts(
    path: str | Path,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    need_labels: bool = False,
) -> TextData:
    """Read texts, and labels where there are any, from a csv, tsv, json, jsonl, parquet or txt file.

    Args:
        path: The file; see ``read_table`` for the file types.
        text: Column of the texts; by default ``text``, else ``sentence``, else the only column of texts.
        text_pair: Column of the second texts, for tasks on two texts.
        label: Column of the labels; by default ``label`` where there is one.
        need_labels: Whether a file without complete labels is an error.

    Returns:
        All rows in the file's order. Empty texts are kept.

    Raises:
        InputError: The file cannot be read, a column is missing, or a row has no text or no label.

    Examples:
        >>> texts = read_texts("reviews.csv")
        >>> texts.texts[0], texts.labels[0]
        ('the film is good and good and good', '1')
    """
    source = str(path)
    table = read_table(path)
    text_column = _text_column(table, source, text, {text_pair, label, "label"})
    texts = _strings(table, source, text_column)
    pairs = None if text_pair is None else _strings(table, source, _named(table, source, text_pair, "text_pair"))
    required = need_labels or label is not None
    labels = None
    if required or "label" in table:
        labels = _labels(table, source, _named(table, source, label or "label", "label"), required)
    return TextData(texts=texts, pairs=pairs, labels=labels, source=source)


def _named(table: Table, source: str, name: str, argument: str) -> str:
    if name not in table:
        raise InputError(f"{source}: no column {name!r}, there are {_names(table)}; pass one of them as `{argument}`")
    return name


def _text_column(table: Table, source: str, text: str | None, others: set[str | None]) -> str:
    if text is not None:
        return _named(table, source, text, "text")
    for name in ("text", "sentence"):
        if name in table:
            return name
    candidates = [name for name, values in table.items() if name not in others and _is_text(values)]
    if len(candidates) != 1:
        raise InputError(
            f"{source}: no column 'text' or 'sentence' and {len(candidates)} other columns of texts among "
            f"{_names(table)}, expected one; pass the column as `text`"
        )
    return candidates[0]


def _is_text(values: Sequence[object]) -> bool:
    present = [value for value in values if value is not None]
    strings = [value for value in present if isinstance(value, str)]
    # Every csv value is a string, so a column of numbers is recognised by its values.
    return bool(present) and len(strings) == len(present) and not all(_is_number(value) for value in strings)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return not value
    return True


def _strings(table: Table, source: str, column: str) -> tuple[str, ...]:
    strings: list[str] = []
    for number, value in enumerate(map(_joined, table[column]), start=1):
        if not isinstance(value, str):
            given = "is null" if value is None else f"holds {value!r:.40} ({type(value).__name__})"
            raise InputError(
                f"{source}: row {number} {given} in column {column!r}, expected a text; fill or remove the row"
            )
        strings.append(value)
    return tuple(strings)


def _labels(table: Table, source: str, column: str, required: bool) -> tuple[str, ...] | None:
    labels: list[str] = []
    for number, value in enumerate(map(_joined, table[column]), start=1):
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
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


def _names(table: Table) -> str:
    return ", ".join(map(repr, table))
