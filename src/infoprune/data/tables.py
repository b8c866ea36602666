"""Files of rows as columns: csv, tsv, json, jsonl, parquet and plain text."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from infoprune.errors import InputError

Table = dict[str, list[object]]


def read_table(path: str | Path) -> Table:
    """Read a file into columns of equal length, chosen by the file's suffix; nothing is written or cached.

    Args:
        path: A .csv or .tsv file with a header line, .jsonl (an object a line), .json (a list of objects, an object of
            columns, or lines), .parquet, or .txt (a text a line, blank lines skipped, column ``text``).

    Returns:
        Column name to values, in the file's order. Values of csv, tsv and txt files are strings.

    Raises:
        InputError: The file is missing, empty, of an unknown kind, not UTF-8, or malformed.

    Example:
        >>> read_table("reviews.csv")
        {'text': ['good', 'bad'], 'label': ['1', '0']}
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a data file; check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected one file of {_SUPPORTED}; name the file inside it")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        given = path.suffix or "no suffix"
        raise InputError(f"{path}: unknown kind of file ({given}), expected {_SUPPORTED}; convert or rename it")
    table = reader(path)
    if not table or not next(iter(table.values())):
        raise InputError(f"{path}: the file has no rows, expected at least one; check that it was written completely")
    return table


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte 0x{data[error.start]:02x} at position {error.start}), expected UTF-8 text; "
            f"convert it, e.g. iconv -f latin1 -t utf-8"
        ) from error


def _read_csv(path: Path) -> Table:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> Table:
    return _read_separated(path, "\t")


def _read_separated(path: Path, delimiter: str) -> Table:
    content = _decoded(path)
    # The csv module refuses fields over 128 KiB unless its process-wide limit is raised: long documents exist.
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
    if len(set(header)) < len(header):
        raise InputError(f"{path}: repeated column names in the header {header}, expected each once; rename them")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}: the row ending at line {line} has {len(row)} fields, expected {len(header)} as in the "
                f"header; quote fields that contain the separator"
            )
    return {name: [row[index] for _, row in rows[1:]] for index, name in enumerate(header)}


def _read_json_lines(path: Path) -> Table:
    return _lines_to_columns(path, _decoded(path))


def _read_json(path: Path) -> Table:
    content = _decoded(path)
    try:
        value = json.loads(content) if content.strip() else []
    except (ValueError, RecursionError):
        # Many tools write an object a line into files that they call .json.
        return _lines_to_columns(path, content)
    if isinstance(value, list):
        return _objects_to_columns(path, value)
    if isinstance(value, dict):
        columns = list(value.values())
        if all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return value
        return _objects_to_columns(path, [value])
    raise InputError(f"{path}: holds a JSON {type(value).__name__}, expected a list of objects; see a .jsonl example")


def _lines_to_columns(path: Path, content: str) -> Table:
    objects = []
    # str.splitlines would also split at characters that JSON strings may contain, such as U+2028.
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            try:
                objects.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}: line {number} is not JSON ({error}), expected an object a line; correct that line"
                ) from error
    return _objects_to_columns(path, objects)


def _objects_to_columns(path: Path, objects: Sequence[object]) -> Table:
    rows: list[Mapping[str, object]] = []
    for number, value in enumerate(objects, start=1):
        if not isinstance(value, dict):
            raise InputError(
                f'{path}: row {number} is a JSON {type(value).__name__}, expected an object like {{"text": "..."}}; '
                f"write each row as an object"
            )
        rows.append(value)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: Path) -> Table:
    try:
        table: Table = pyarrow.parquet.read_table(path).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not readable as parquet ({reason}), expected parquet; write it anew") from error
    return table


def _read_lines(path: Path) -> Table:
    lines = (line.rstrip("\r") for line in _decoded(path).split("\n"))
    return {"text": [line for line in lines if line.strip()]}


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
_SUPPORTED = ", ".join(_READERS)
