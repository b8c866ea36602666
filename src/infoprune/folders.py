"""Folders: where results are written, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infoprune.drafts import draft_beside
from infoprune.errors import InputError


@contextmanager
def new_folder(folder: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A folder to fill beside its destination; it takes the destination's name only when the block ends without error.

    Raises:
        InputError: the destination is there and not empty, and `force` is not set.
    """
    out = Path(folder).absolute()
    check_new(out, force=force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with draft_beside(out) as draft:
        draft.chmod(0o755)
        yield draft
        if not out.exists():
            draft.rename(out)
            return
        with draft_beside(out, "old") as old:
            out.rename(old / out.name)
            try:
                draft.rename(out)
            except BaseException:
                (old / out.name).rename(out)
                raise


def check_new(folder: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raises InputError where results must not be written: a file, or a folder that holds something already."""
    out = Path(folder)
    if out.is_file():
        raise InputError(f"{out} is a file, expected the name of a new folder; choose another name")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise InputError(f"{out} exists and is not empty, expected a new folder; choose another name or pass --force")
    check_place(out)


def check_place(out: Path) -> None:
    """Raises InputError where a file or folder cannot be made: known now, and not after hours of work."""
    place = out.absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{out} cannot be made, since {place} is a file, expected a folder; choose another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be made, since {place} may not be written to; choose another place")
