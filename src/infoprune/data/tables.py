"""Tables: read files of rows into columns: csv, tsv, json, jsonl, parquet and plain text."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from infoprune.errors import InputError

Table = dict[str, list[object]]


def read_table(path: str | Path) -> Table:
    """Read a file into columns of equal length, chosen by the file's suffix; nothing is written or cached.

    Args:
        path: A .csv or .tsv file with a header line, .jsonl (an object per line), .json (a list of objects, an object
            of columns, or lines), .parquet, or .txt (a text per line, blank lines skipped, column ``text``).

    Returns:
        Column name to values, in the file's order. Values of csv, tsv and txt files are strings.

    Raises:
        InputError: The file is missing, empty, of an unknown type, not UTF-8, or malformed.

    Examples:
        >>> read_table("reviews.csv")
        {'text': ['good', 'bad'], 'label': ['1', '0']}
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a data file; check the path")
    if path.is_dir():
        raise InputError(
            f"{path}: is a folder, expected one file of {_SUPPORTED}, or a folder from save_to_disk; pass the files "
            f"inside it, e.g. '{path}/*.csv'"
        )
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        given = path.suffix or "no suffix"
        raise InputError(f"{path}: unknown file type ({given}), expected {_SUPPORTED}; convert or rename it")
    table = reader(path)
    if not table or not next(iter(table.values())):
        raise InputError(f"{path}: the file has no rows, expected at least one; check that it was written completely")
    return table


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    try:
        # The codec utf-8-sig would count positions after the byte order mark.
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte 0x{data[error.start]:02x} at position {error.start}), expected UTF-8 text; "
            "convert it, e.g. iconv -f latin1 -t utf-8"
        ) from error


def _read_separated(path: Path, delimiter: str) -> Table:
    # Neither pyarrow.csv nor datasets is suitable. Without an error, the former reads an unclosed quote and all that
    # follows as one field, the latter fills short rows and shifts long ones; pyarrow's errors count rows, not lines.
    content = _decoded(path)
    # The csv module rejects fields over 128 KiB unless its process-wide limit is raised: long documents exist.
    limit = csv.field_size_limit(max(len(content), csv.field_size_limit()))
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(
            f"{path}: malformed at line {reader.line_num} ({error}), expected quoted fields to be closed and quotes "
            f"inside them doubled; correct the line or convert the file to .jsonl"
        ) from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        return {}
    header = rows[0][1]
    _check_names(path, header)
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}: the row ending at line {line} has {len(row)} fields, expected {len(header)} as in the "
                "header; quote fields that contain the separator"
            )
    return {name: [row[index] for _, row in rows[1:]] for index, name in enumerate(header)}


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise InputError(f"{path}: repeated column names in the header {names}, expected each once; rename them")


def _read_json(path: Path) -> Table:
    content = _decoded(path)
    try:
        value = json.loads(content) if content.strip() else []
    except (ValueError, RecursionError):
        # Many tools write an object per line into .json files.
        return _read_json_lines(path)
    if isinstance(value, list):
        return _objects_to_columns(path, value)
    if isinstance(value, dict):
        columns = list(value.values())
        if all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return value
        return _objects_to_columns(path, [value])
    raise InputError(
        f"{path}: contains a JSON {type(value).__name__}, expected a list of objects; "
        f'write each row as an object like {{"text": "..."}}'
    )


def _read_json_lines(path: Path) -> Table:
    # Neither pyarrow.json nor datasets is suitable: both turn a column of texts like "2020-01-01" into dates, and where
    # the labels are 1 and "1", the former fails and the latter returns 1 twice.
    objects = []
    # str.splitlines would also split at characters that JSON strings may contain, such as U+2028.
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if line.strip():
            try:
                objects.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}: line {number} is not JSON ({error}), expected an object per line; correct that line"
                ) from error
    return _objects_to_columns(path, objects)


def _objects_to_columns(path: Path, objects: Sequence[object]) -> Table:
    rows: list[Mapping[str, object]] = []
    for number, value in enumerate(objects, start=1):
        if not isinstance(value, dict):
            raise InputError(
                f'{path}: row {number} is a JSON {type(value).__name__}, expected an object like {{"text": "..."}}; '
                "write each row as an object"
            )
        rows.append(value)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        # For a repeated name, the error of read_table is only "Multiple matches for FieldRef.Name".
        _check_names(path, pyarrow.parquet.read_schema(path).names)
        table: Table = pyarrow.parquet.read_table(path).to_pydict()
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not readable as parquet ({reason}), expected parquet; write it again") from error
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: a column cannot be converted to Python ({error}), expected texts, numbers, or lists of them; "
            "write the file without that column"
        ) from error
    return table


def _read_lines(path: Path) -> Table:
    lines = (line.rstrip("\r") for line in _decoded(path).split("\n"))
    return {"text": [line for line in lines if line.strip()]}


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": partial(_read_separated, delimiter=","),
    ".tsv": partial(_read_separated, delimiter="\t"),
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
SUFFIXES = tuple(_READERS)
"""Suffixes of the files that can be read."""

_SUPPORTED = ", ".join(_READERS)
