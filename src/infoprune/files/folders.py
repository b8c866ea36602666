"""Folders: write result folders completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infoprune.errors import InputError
from infoprune.files.drafts import draft_beside


@contextmanager
def new_folder(folder: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Create a draft folder that gets the destination's name when the block ends without error.

    Raises:
        InputError: The destination exists and is not empty, and `force` is not set.
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
    """Raise InputError where results must not be written: at a file, or in a folder that is not empty."""
    out = Path(folder)
    if out.is_file():
        raise InputError(f"{out} is a file, expected the name of a new folder; choose another name")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise InputError(
            f"{out} exists and is not empty, expected a new folder; choose another name or pass `force=True`"
        )
    check_place(out)


def check_place(out: Path) -> None:
    """Raise InputError where a file or folder cannot be created: before the work, and not after hours of it."""
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{out} cannot be created, since {parent} is a file, expected a folder; choose another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be created, since {parent} may not be written to; choose another place")
