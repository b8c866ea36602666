"""Media folders: pictures or clips as files: in folders named after classes, or listed in a table of file names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from infoprune.data.tables import SUFFIXES as TABLES
from infoprune.data.tables import read_table
from infoprune.errors import InputError
from infoprune.sources.item import MediaItem, item_at
from infoprune.sources.media_rows import bytes_of_cell
from infoprune.sources.table import SourceTable

Media = Literal["pictures", "clips"]

SUFFIXES: Mapping[Media, tuple[str, ...]] = {
    "pictures": (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"),
    "clips": (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"),
}
"""Suffixes of the files that are read; others in a folder are passed over."""

FILE_NAME, METADATA, LABEL = "file_name", "metadata", "label"
SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev", "test")}
"""Sub-folders that are read in place of a folder, by the split that is wanted."""
_ALL_SPLITS = frozenset({*SPLITS["train"], *SPLITS["validation"]})


def read_media_place(path: Path, media: Media, split: str = "train") -> SourceTable:
    """Read what a path holds: a folder, a table of file names, a parquet file of pictures or clips, or one of these.

    Args:
        path: Folder or file.
        media: What is looked for.
        split: Split that is read where the sub-folders of a folder are splits.

    Raises:
        InputError: There is nothing, or nothing of the wanted type.
    """
    if path.is_dir():
        return _folder(path, media, split)
    if path.suffix.lower() in SUFFIXES[media] and path.is_file():
        return SourceTable(str(path), {}, {}, {FILE_NAME: [item_at(path)]})
    if path.suffix.lower() == ".parquet" and path.is_file():
        return _parquet(path, media)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected {_expected(media)}; check the path")
    if path.suffix.lower() not in TABLES:
        raise InputError(f"{path} is no file of {media} ({path.suffix or 'no suffix'}), expected {_expected(media)}")
    return _table(path, media)


def holds(path: Path, media: Media) -> bool:
    """Return whether a folder holds files of pictures or clips, also further down."""
    return path.is_dir() and next(iter(_files(path, media)), None) is not None


def _expected(media: Media) -> str:
    return f"a folder of {media}, a table with the column {FILE_NAME}, or a dataset with a column of {media}"


def _files(folder: Path, media: Media) -> Sequence[Path]:
    """Return the files of the wanted type in a folder and below, in order, without hidden ones."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        wanted = (name for name in sorted(names) if not name.startswith("."))
        found += [Path(place) / name for name in wanted if Path(name).suffix.lower() in SUFFIXES[media]]
    return found


def _folder(folder: Path, media: Media, split: str) -> SourceTable:
    folder = _split(folder, split)
    listed = next((file for suffix in TABLES if (file := folder / f"{METADATA}{suffix}").is_file()), None)
    if listed is not None:
        return _table(listed, media)
    files = _files(folder, media)
    if not files:
        raise InputError(
            f"{folder}: no {media} in it ({', '.join(SUFFIXES[media])}), expected some, also in sub-folders; check the "
            "path"
        )
    items = [item_at(file) for file in files]
    inside = [file.parent != folder for file in files]
    if not any(inside):
        return SourceTable(str(folder), {}, {}, {FILE_NAME: items})
    # As in datasets: the class is the folder that the file lies in.
    names: list[object] = [file.parent.name if below else None for file, below in zip(files, inside, strict=True)]
    classes = tuple(sorted({str(name) for name in names if name is not None}))
    return SourceTable(str(folder), {LABEL: names}, {LABEL: classes}, {FILE_NAME: items})


def _split(folder: Path, split: str) -> Path:
    """Return the sub-folder of the split where all sub-folders are splits; else the folder."""
    inside = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not inside or not _ALL_SPLITS.issuperset(inside):
        return folder
    name = next((name for name in SPLITS.get(split, (split,)) if name in inside), inside[0] if len(inside) == 1 else "")
    if not name:
        raise InputError(
            f"{folder} has no split {split!r}, there are {', '.join(inside)}; pass one, e.g. {folder / inside[0]}"
        )
    return folder / name


def _table(path: Path, media: Media) -> SourceTable:
    table = read_table(path)
    if FILE_NAME not in table:
        raise InputError(
            f"{path}: no {media} in it (columns {', '.join(map(repr, table))}), expected {_expected(media)}; pass one "
            "of these"
        )
    items: list[MediaItem] = []
    for number, name in enumerate(table[FILE_NAME], start=1):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: row {number} has no {FILE_NAME}; fill or remove the row")
        file = path.parent / name
        if not file.is_file():
            raise InputError(
                f"{path}: row {number} names {name!r}, but there is no file {file}; file names are relative to the "
                "table, correct or remove the row"
            )
        items.append(item_at(file))
    rest = {name: values for name, values in table.items() if name != FILE_NAME}
    return SourceTable(str(path), rest, {}, {FILE_NAME: items})


def _parquet(path: Path, media: Media) -> SourceTable:
    """Read a parquet file as datasets writes it: cells are bytes, or records of bytes and a path."""
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
        held = [field.name for field in schema if _is_binary(field.type)]
        if FILE_NAME in schema.names and not held:
            return _table(path, media)
        table = pyarrow.parquet.read_table(path, memory_map=True)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not readable as parquet ({reason}), expected parquet; write it again") from error
    if not held or not len(table):
        what = "rows" if held else media
        raise InputError(f"{path}: no {what} in it (columns {', '.join(schema.names)}), expected {_expected(media)}")
    classes = _classes(schema.metadata)
    columns: dict[str, list[object]] = {}
    for name in (name for name in schema.names if name not in held):
        values = table[name].to_pylist()
        known = classes.get(name)
        columns[name] = values if known is None else [_named(value, known) for value in values]
    found = {name: [_item(table[name], row, path) for row in range(len(table))] for name in held}
    return SourceTable(str(path), columns, classes, found)


def _is_binary(given: object) -> bool:
    import pyarrow.types

    if pyarrow.types.is_struct(given):
        return any(field.name == "bytes" for field in given)  # type: ignore[attr-defined]
    return bool(pyarrow.types.is_binary(given) or pyarrow.types.is_large_binary(given))


def _item(column: object, row: int, path: Path) -> MediaItem:
    name = f"row {row + 1} of {path}"
    return MediaItem(name, lambda: bytes_of_cell(column[row].as_py(), name))  # type: ignore[index]


def _classes(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """Return the names of classes that datasets has written beside the columns."""
    import json

    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {name: tuple(each["names"]) for name, each in features.items() if each.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _named(value: object, classes: tuple[str, ...]) -> object:
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else None
