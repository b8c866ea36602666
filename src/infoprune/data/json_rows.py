"""JSON rows: the columns of json and jsonl files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from infoprune.data.decoding import decoded, lines_of
from infoprune.errors import InputError

Table = dict[str, list[object]]

_EXAMPLE = '{"text": "..."}'


def read_json_table(path: Path) -> Table:
    """Read a .json file: a list of objects, an object of columns, an object with such a list, or objects by line.

    Raises:
        InputError: It is no such JSON; the message has the line.
    """
    content = decoded(path)
    if not content.strip():
        return {}
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        # Many tools write an object per line into .json files.
        if _parses(next(line for line in lines_of(content) if line.strip())):
            return _objects_by_line(path, content)
        raise InputError(
            f"{path}: not JSON ({_reason(error)}), expected a list of objects like {_EXAMPLE}; correct it there"
        ) from error
    return _table(path, value)


def read_json_lines(path: Path) -> Table:
    """Read a .jsonl file: an object per line; a list of objects, as in .json files, is read as well.

    Raises:
        InputError: A line is not JSON or no object; the message has the line.
    """
    content = decoded(path)
    if content.lstrip().startswith("["):
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            return _objects_by_line(path, content)
        return _objects_to_columns(path, value)
    return _objects_by_line(path, content)


def _table(path: Path, value: object) -> Table:
    if isinstance(value, list):
        return _objects_to_columns(path, value)
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: contains a JSON {type(value).__name__}, expected a list of objects; "
            f"write each row as an object like {_EXAMPLE}"
        )
    columns = list(value.values())
    rows = value.get("data", columns[0] if len(columns) == 1 else None)
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        return _objects_to_columns(path, rows)  # such as {"version": ..., "data": [{...}, ...]}
    if columns and all(isinstance(column, list) for column in columns):
        lengths = {name: len(column) for name, column in value.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name!r} {length}" for name, length in list(lengths.items())[:8])
            raise InputError(
                f"{path}: columns of different lengths ({shown}), expected as many values in each; "
                f"write a list of objects like {_EXAMPLE}"
            )
        return value
    if columns and all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        return {name: list(column.values()) for name, column in value.items()}  # of DataFrame.to_json
    return _objects_to_columns(path, [value])


def _objects_by_line(path: Path, content: str) -> Table:
    # Neither pyarrow.json nor datasets is suitable: both turn a column of texts like "2020-01-01" into dates, and where
    # the labels are 1 and "1", the former fails and the latter returns 1 twice.
    objects = []
    for number, line in enumerate(lines_of(content), start=1):
        if line.strip():
            try:
                objects.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}: line {number} is not JSON ({_reason(error)}), expected an object per line; "
                    f"{_remedy(line)}"
                ) from error
    return _objects_to_columns(path, objects)


def _remedy(line: str) -> str:
    if _parses(line.rstrip().removesuffix(",")):
        return "remove the comma at the end of that line, and of others"
    if line.strip() in ("{", "["):
        return "if the file is one JSON document, rename it to .json"
    return "correct that line"


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _objects_to_columns(path: Path, objects: Sequence[object]) -> Table:
    rows: list[Mapping[str, object]] = []
    for number, value in enumerate(objects, start=1):
        if not isinstance(value, dict):
            raise InputError(
                f"{path}: row {number} is a JSON {type(value).__name__}, expected an object like {_EXAMPLE}; "
                "write each row as an object"
            )
        rows.append(value)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
