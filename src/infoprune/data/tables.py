"""Tables: read files of rows into columns: csv, tsv, json, jsonl, parquet and plain text."""

import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from infoprune.data.decoding import check_contents, decoded, lines_of
from infoprune.data.json_rows import read_json_lines, read_json_table
from infoprune.data.separated import check_names, read_separated
from infoprune.errors import InputError

Table = dict[str, list[object]]


def read_table(path: str | Path) -> Table:
    """Read a file into columns of equal length, chosen by the file's suffix; nothing is written or cached.

    Args:
        path: A .csv or .tsv file with a header line, .jsonl (an object per line), .json (a list of objects, an object
            of columns, or lines), .parquet, or .txt (a text per line, blank lines skipped, column ``text``). Another
            separator than commas or tabs is recognised, with a warning.

    Returns:
        Column name to values, in the file's order. Values of csv, tsv and txt files are strings.

    Raises:
        InputError: The file is missing, empty, of an unknown type, not UTF-8 or UTF-16, or malformed.

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
        remedy = _REMEDIES.get(given, "convert or rename it")
        raise InputError(f"{path}: unknown file type ({given}), expected {_SUPPORTED}; {remedy}")
    table = reader(path)
    if not table or not next(iter(table.values())):
        raise InputError(f"{path}: the file has no rows, expected at least one; check that it was written completely")
    return table


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    check_contents(path, "parquet")
    try:
        # For a repeated name, the error of read_table is only "Multiple matches for FieldRef.Name".
        check_names(path, pyarrow.parquet.read_schema(path).names)
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
    lines = [line for line in lines_of(decoded(path)) if line.strip()]
    fields = re.split(r"[,;\t|]", lines[0]) if lines else []
    if len(fields) > 1 and not _NAMES.isdisjoint(field.strip(' "').lower() for field in fields):
        warnings.warn(
            f"{path}: the first line looks like the header of a table, but in .txt files every line is a text; "
            "rename it to .csv if it has columns",
            stacklevel=2,
        )
    return {"text": list(lines)}


_NAMES = frozenset({"text", "sentence", "label"})
_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": partial(read_separated, usual=","),
    ".tsv": partial(read_separated, usual="\t"),
    ".jsonl": read_json_lines,
    ".json": read_json_table,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
SUFFIXES = tuple(_READERS)
"""Suffixes of the files that can be read."""

_SUPPORTED = ", ".join(_READERS)
_REMEDIES = {suffix: "unpack it first" for suffix in (".gz", ".zip", ".bz2", ".xz", ".zst")} | {
    ".xlsx": "convert it: export the sheet as UTF-8 csv"
}
