"""Saved: folders that `save_to_disk` of datasets has written."""

from __future__ import annotations

from pathlib import Path

FILES = ("state.json", "dataset_dict.json")
"""Files by which such a folder is told from others: of one split, of several."""


def saved_folder(place: str) -> tuple[Path, str | None] | None:
    """Return such a folder, and the split that is named behind it; None for other places.

    Examples:
        >>> saved_folder("my-data:test")
        (PosixPath('my-data'), 'test')
    """
    before, _, split = place.rpartition(":")
    for path, named in ((place, None), (before, split)):
        if path and any((Path(path) / name).is_file() for name in FILES):
            return Path(path), named
    return None
