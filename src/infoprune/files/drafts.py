"""Drafts: hidden folders for unfinished results; a later run removes those of killed processes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

try:
    import fcntl
except ImportError:  # no such locks on Windows: nothing is removed there
    fcntl = None  # type: ignore[assignment]

Suffix = Literal["draft", "old"]


@contextmanager
def draft_beside(out: Path, suffix: Suffix = "draft") -> Iterator[Path]:
    """Create a new hidden folder beside a future file or folder, and remove it at the end of the block.

    See `open_draft` for the arguments and for what is removed first.
    """
    draft, drop = open_draft(out, suffix)
    try:
        yield draft
    finally:
        drop()


def open_draft(out: Path, suffix: Suffix = "draft") -> tuple[Path, Callable[[], None]]:
    """Create a new hidden folder beside a future file or folder, and return it with the function that removes it.

    The process holds a lock on the folder; the system releases the lock of a killed process. Folders that killed
    processes have left for the same `out` are removed first. An old result that was moved aside is kept as long as
    there is no new one.

    Args:
        out: Absolute path of the result; its parent folder exists.
        suffix: "draft" for the new result, "old" for the result that it replaces.
    """
    _clear(out)
    draft, lock = _locked_folder(out, suffix)

    def drop() -> None:
        if _needless(suffix, out):
            shutil.rmtree(draft, ignore_errors=True)
        if lock is not None:
            os.close(lock)

    return draft, drop


def _clear(out: Path) -> None:
    """Remove the folders of processes that have ended; folders that cannot be read or removed are skipped."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.[a-z0-9_]{{8}}\.(draft|old)")
    with suppress(OSError):
        for folder in out.parent.iterdir():
            found = ours.fullmatch(folder.name)
            if found is None or not _needless(found[1], out):
                continue
            lock = _lock(folder, wait=False)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _needless(suffix: str, out: Path) -> bool:
    """Return whether a folder may be removed: an old result may not be, until there is a new one."""
    return suffix == "draft" or out.exists()


def _locked_folder(out: Path, suffix: Suffix) -> tuple[Path, int | None]:
    """Create a folder with a new name and lock it where the file system supports locks."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=f".{suffix}", dir=out.parent))
        lock = _lock(folder, wait=True)
        if folder.is_dir():  # otherwise another run has removed it before it was locked
            return folder, lock
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Open and lock a folder; return None where another process holds the lock, or locks are not supported."""
    if fcntl is None:
        return None
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened
