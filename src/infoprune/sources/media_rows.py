"""Media rows: the columns of a dataset that hold pictures or clips, read row by row and never decoded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import fsspec
from datasets import Audio, Dataset, Image

from infoprune.errors import InputError
from infoprune.sources.item import MediaItem

HUB = "hf://"
"""Files of a dataset that is read as it arrives; those of an archive have the archive's name before it."""


@dataclass(frozen=True)
class _Items(Sequence[MediaItem]):
    """The cells of a column; a cell is read when its item is."""

    dataset: Dataset
    column: str
    source: str

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> MediaItem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[MediaItem]: ...
    def __getitem__(self, index: int | slice) -> MediaItem | Sequence[MediaItem]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # raises IndexError, at which an iteration ends
        name = f"row {index + 1} of {self.source}"
        return MediaItem(name, partial(_load, self.dataset, self.column, index, name))


def media_of(dataset: Dataset, source: str) -> dict[str, Sequence[MediaItem]]:
    """Return the columns of pictures and clips of a dataset, by name.

    Args:
        dataset: Rows of a dataset.
        source: Name of the source, for messages.
    """
    found: dict[str, Sequence[MediaItem]] = {}
    for name, feature in dataset.features.items():
        if is_media(feature):
            undecoded = type(feature)(decode=False)
            found[name] = _Items(dataset.select_columns([name]).cast_column(name, undecoded), name, source)
    return found


def is_media(feature: object) -> bool:
    """Return whether the values of a column are pictures or clips."""
    return isinstance(feature, Image | Audio)


def undecoded_media(features: Mapping[str, object]) -> dict[str, Any]:
    """Return the types by which a stream gives pictures and clips as they are in their files, by column."""
    return {
        name: type(feature)(decode=False) for name, feature in features.items() if isinstance(feature, Image | Audio)
    }


def bytes_of_cell(cell: object, name: str) -> bytes:
    """Return the bytes of a cell: bytes, or a record of bytes and a path.

    Raises:
        InputError: The cell is empty, or its file cannot be read.
    """
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(content, bytes) and content:
        return content
    if isinstance(path, str) and Path(path).is_file():
        return Path(path).read_bytes()
    raise InputError(f"{name} is empty, expected a picture or a clip; remove the row")


def with_bytes(cell: object) -> object:
    """Return the cell of a stream with the bytes of its file, where the cell names one on the hub alone."""
    if not isinstance(cell, dict) or cell.get("bytes") is not None:
        return cell
    path = cell.get("path")
    if not isinstance(path, str) or HUB not in path:
        return cell
    with fsspec.open(path, "rb") as file:
        return {"bytes": file.read(), "path": None}


def _load(dataset: Dataset, column: str, row: int, name: str) -> bytes:
    return bytes_of_cell(dataset[row][column], name)
