"""Separated values: rows of csv and tsv files, whichever of four separators they have."""

import csv
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infoprune.data.decoding import decoded
from infoprune.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}


@dataclass(frozen=True)
class Row:
    """Fields of a row, and the line where it ends."""

    line: int
    fields: tuple[str, ...]


class _Malformed(Exception):
    """A row that is no csv: the lines of its start and of the fault, and what the csv module says of it."""


def read_separated(path: Path, usual: str) -> dict[str, list[object]]:
    """Read the columns of a csv or tsv file; all values are strings.

    Args:
        path: The file.
        usual: Separator of such files. Another one is recognised by the header and the rows, with a warning; the line
            ``sep=;`` that spreadsheets write is obeyed.

    Raises:
        InputError: The file is not text, a quote is not closed, or a row has not as many fields as the header.
    """
    # Neither pyarrow.csv nor datasets is suitable. Without an error, the former reads an unclosed quote and all that
    # follows as one field, the latter fills short rows and shifts long ones; pyarrow's errors count rows, not lines.
    content = decoded(path)
    declared = re.match(r"sep=(.)(\r\n|\r|\n)", content)
    skipped = 0 if declared is None else 1
    content = content if declared is None else content[declared.end() :]
    # The csv module rejects fields over 128 KiB unless its process-wide limit is raised: long documents exist.
    limit = csv.field_size_limit(max(len(content), csv.field_size_limit()))
    try:
        separator = _separator(content, usual) if declared is None else declared[1]
        rows = list(_rows(content, separator))
    except _Malformed as error:
        start, line, reason = error.args
        raise InputError(
            f"{path}: malformed {_where(start + skipped, line + skipped)} ({reason}), expected quoted fields to be "
            "closed and quotes inside them doubled; correct the row that begins there or convert the file to .jsonl"
        ) from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        return {}
    if separator != usual and declared is None:
        warnings.warn(
            f"{path}: fields are separated by {SEPARATORS[separator]}, and were read so; {path.suffix.lower()} files "
            f"usually have {SEPARATORS[usual]}",
            stacklevel=2,
        )
    header = _header(path, rows[0].fields)
    for row in rows[1:]:
        if len(row.fields) != len(header):
            raise InputError(
                f"{path}: the row ending at line {row.line + skipped} has {len(row.fields)} fields, expected "
                f"{len(header)} as in the header; quote fields that contain the separator ({_shown(separator)})"
            )
    _warn_repeated(path, rows, skipped)
    return {name: [row.fields[index] for row in rows[1:]] for index, name in enumerate(header)}


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise InputError where two columns have the same name."""
    if len(set(names)) < len(names):
        raise InputError(f"{path}: repeated column names in the header {names}, expected each once; rename them")


def _rows(content: str, separator: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            # The fault shows where the next quote is or the file ends, but the quote was opened before.
            raise _Malformed(start, reader.line_num, str(error)) from error
        if fields is None:
            return
        if fields:
            yield Row(reader.line_num, tuple(fields))


def _separator(content: str, usual: str) -> str:
    """Return the separator that header and rows speak for."""
    others = [separator for separator in SEPARATORS if separator != usual and separator in content]
    if not others:
        return usual
    columns, share = _agreement(content, usual)
    found = {separator: _agreement(content, separator) for separator in others}
    several = [separator for separator, (count, _) in found.items() if count > 1]
    if columns < 2:
        # Some rows may have a separator too many: then the fault of that row is named.
        fitting = [separator for separator in several if found[separator][1] >= 0.5]
    else:
        fitting = [separator for separator in several if share < 1 and found[separator][1] == 1]
    return max(fitting, key=lambda separator: (found[separator][1], found[separator][0]), default=usual)


def _agreement(content: str, separator: str) -> tuple[int, float]:
    """Return the fields of the header, and the share of rows with as many; (0, 0) where they cannot be read."""
    try:
        counts = [len(row.fields) for row in _rows(content, separator)]
    except _Malformed:
        return 0, 0.0
    if len(counts) < 2:
        return (counts[0], 1.0) if counts else (0, 0.0)
    return counts[0], counts[1:].count(counts[0]) / (len(counts) - 1)


def _header(path: Path, fields: Sequence[str]) -> list[str]:
    """Return the names of the columns, without the spaces around them."""
    stripped = [name.strip() for name in fields]
    check_names(path, list(fields))
    return stripped if len(set(stripped)) == len(stripped) else list(fields)


def _warn_repeated(path: Path, rows: Sequence[Row], skipped: int) -> None:
    """Warn where the header is among the rows, as in files that were joined by hand."""
    again = [row.line + skipped for row in rows[1:] if len(row.fields) > 1 and row.fields == rows[0].fields]
    if again:
        warnings.warn(
            f"{path}: line {again[0]} repeats the header ({len(again)} such rows), and is read as a text; "
            "remove these lines",
            stacklevel=3,
        )


def _where(start: int, line: int) -> str:
    return f"at line {start}" if start == line else f"from line {start} on"


def _shown(separator: str) -> str:
    return "tab" if separator == "\t" else separator
