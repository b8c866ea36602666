"""Item: a picture or a clip of sound that is not read yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infoprune.errors import InputError


@dataclass(frozen=True)
class MediaItem:
    """A file, or a cell of a dataset, that is read when it is needed.

    Args:
        name: Path, or row and source, for messages and reports.
        load: Returns the bytes, as they are in a file.
    """

    name: str
    load: Callable[[], bytes]


def item_at(path: Path, name: str | None = None) -> MediaItem:
    """Return the item in a file.

    Examples:
        >>> item_at(Path("photos/cat/1.jpg")).name
        'photos/cat/1.jpg'
    """
    return MediaItem(name or str(path), partial(_read, path, name or str(path)))


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{name} cannot be read ({error.strerror or error}), expected the file {path}; check the path, or remove "
            "the row"
        ) from None
