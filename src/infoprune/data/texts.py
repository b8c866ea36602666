"""Texts: read texts, second texts and labels from files and datasets."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from infoprune.data.columns import (
    Table,
    column_named,
    given_as,
    labels_in,
    names_of_columns,
    remedy_for,
    strings_in,
)
from infoprune.data.places import Place, places, read_place
from infoprune.errors import InputError
from infoprune.sources.table import SourceTable


@dataclass(frozen=True)
class TextData:
    """Texts with optional second texts and labels, row by row.

    Args:
        texts: First text of each input.
        pairs: Second text of each input, for tasks on two texts; or None.
        labels: Label of each input as a string; integers and integral floats are written like ``"1"``; or None.
        source: Name of the file or other source, for messages and reports.
        classes: Names of the classes in the order of their numbers, where the source knows them; or None.

    Raises:
        InputError: A value is no text, or a column has another length than the texts.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    source: str
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, column in (("text", self.texts), ("second text", self.pairs), ("label", self.labels)):
            _check_strings(self.source, name, column)
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
        return TextData(tuple(self.texts[row] for row in rows), chosen[0], chosen[1], self.source, self.classes)


def _check_strings(source: str, name: str, column: object) -> None:
    if isinstance(column, str):
        raise InputError(f"{source}: one {name} was given in place of several, expected a tuple of them; pass a tuple")
    for number, value in enumerate(column if isinstance(column, Sequence) else (), start=1):
        if not isinstance(value, str):
            raise InputError(f"{source}: {name} {number} {given_as(value)}, expected a text; {remedy_for(value)}")
        if not value.isascii() and not _encodes(value):
            raise InputError(
                f"{source}: {name} {number} holds half of a surrogate pair, expected Unicode text; remove the half, "
                "e.g. text.encode('utf-8', 'ignore').decode()"
            )


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_texts(
    path: Place | Sequence[Place],
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    need_labels: bool = False,
    split: str = "train",
) -> TextData:
    """Read texts, and labels where there are any, from files or a dataset.

    A place is a csv, tsv, json, jsonl, parquet or txt file; a pattern of such files ("part-*.csv"); a folder written
    by ``save_to_disk``; or a dataset on the Hugging Face Hub: owner/dataset, owner/dataset:configuration,
    owner/dataset:split or owner/dataset:configuration:split. Datasets are read by the library datasets, from its
    cache where they are there; no script is run. Of files of more than 1 GiB together, 100,000 rows are read.

    Args:
        path: A place, or several; a ``Path`` is always a path, and so is a text that names something local.
        text: Column of the texts; by default ``text``, else ``sentence``, else the only column of texts.
        text_pair: Column of the second texts, for tasks on two texts.
        label: Column of the labels; by default ``label`` where there is one. Classes of a dataset are read as their
            names.
        need_labels: Whether a file without complete labels is an error.
        split: Split of a dataset that is read where none is named and there are several; for "validation" also valid,
            dev or test.

    Returns:
        All rows in their order. Empty texts are kept. With several places, labels are returned where all have them.

    Raises:
        InputError: A place cannot be read, a column is missing, or a row has no text or no label.

    Examples:
        >>> texts = read_texts("reviews.csv")
        >>> texts.texts[0], texts.labels[0]
        ('the film is good and good and good', '1')
    """
    columns = _Wanted(text, text_pair, label, need_labels)
    return _joined_data([_read(read_place(place, split), columns) for place in places(path)])


@dataclass(frozen=True)
class _Wanted:
    """Names of the columns to read, and whether labels are needed."""

    text: str | None
    text_pair: str | None
    label: str | None
    need_labels: bool


def _read(rows: SourceTable, columns: _Wanted) -> TextData:
    table, source, label = rows.columns, rows.source, columns.label
    name = _text_column(table, source, columns.text, {columns.text_pair, label, "label"})
    if columns.text is None:
        _warn_no_header(table, source, name)
    texts = strings_in(table, source, name)
    pairs = None
    if columns.text_pair is not None:
        pairs = strings_in(table, source, column_named(table, source, columns.text_pair, "text_pair"))
    required = columns.need_labels or label is not None
    if not required and "label" not in table:
        return TextData(texts, pairs, None, source)
    name = column_named(table, source, label or "label", "label")
    return TextData(texts, pairs, labels_in(table, source, name, required), source, rows.classes.get(name))


def _joined_data(parts: Sequence[TextData]) -> TextData:
    """Join the rows of several sources."""
    first = parts[0]
    if len(parts) == 1:
        return first
    labels = [part.labels for part in parts if part.labels is not None]
    pairs = [part.pairs for part in parts if part.pairs is not None]
    same = all(part.classes == first.classes for part in parts)
    return TextData(
        tuple(text for part in parts for text in part.texts),
        tuple(text for each in pairs for text in each) if pairs else None,
        tuple(label for each in labels for label in each) if len(labels) == len(parts) else None,
        f"{first.source} and {len(parts) - 1} more",
        first.classes if same else None,
    )


def _text_column(table: Table, source: str, text: str | None, others: set[str | None]) -> str:
    if text is not None:
        return column_named(table, source, text, "text")
    for name in ("text", "sentence"):
        if name in table:
            return name
    candidates = [name for name, values in table.items() if name not in others and _is_text(values)]
    if len(candidates) != 1:
        header = "; the first line must be a header" if _has_header(source) and any(map(_is_prose, table)) else ""
        raise InputError(
            f"{source}: no column 'text' or 'sentence' and {len(candidates)} other columns of texts among "
            f"{names_of_columns(table)}, expected one{header}; pass the column as `text`"
        )
    return candidates[0]


def _warn_no_header(table: Table, source: str, name: str) -> None:
    """Warn where the first line of a file looks like a row, not like names of columns."""
    if not _has_header(source):
        return
    also = next((other for other, values in table.items() if other != name and other and other in values), None)
    if _is_prose(name):
        why = "looks like a text"
    elif name not in ("text", "sentence") and also is not None:
        why = f"has {also!r}, which is a value of that column too"
    else:
        return
    warnings.warn(
        f"{source}: the first line is the header, so it is not read as a text, but it {why} ({name!r:.60}); "
        "if the file has no header, write one as its first line, e.g. text,label",
        stacklevel=4,
    )


def _has_header(source: str) -> bool:
    return source.lower().endswith((".csv", ".tsv"))


def _is_prose(name: str) -> bool:
    """Return whether the name of a column looks like a text: of many words, or of some that end as sentences do."""
    words = name.split()
    return len(words) > 4 or (len(words) > 1 and name.rstrip().endswith((".", "!", "?")))


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
