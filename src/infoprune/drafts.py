"""Drafts: hidden folders beside a result while it is made, which a later run clears where their process was killed."""

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
except ImportError:  # no such locks on Windows: nothing is cleared there
    fcntl = None  # type: ignore[assignment]

Suffix = Literal["draft", "old"]


@contextmanager
def draft_beside(out: Path, suffix: Suffix = "draft") -> Iterator[Path]:
    """A new hidden folder beside a file or folder that is to be made; it is gone when the block ends.

    Args and what is cleared: as in `open_draft`.
    """
    draft, drop = open_draft(out, suffix)
    try:
        yield draft
    finally:
        drop()


def open_draft(out: Path, suffix: Suffix = "draft") -> tuple[Path, Callable[[], None]]:
    """A new hidden folder beside a file or folder that is to be made, and what removes it.

    Its process holds a lock on it, which the system takes back from one that was killed. What such a one has left for
    the same `out` is removed first. An old result that was put aside stays as long as there is no new one.

    Args:
        out: absolute; the folder around it is there.
        suffix: "draft" for what is made, "old" for what it replaces.
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
    """Removes what processes that are gone have left; what cannot be looked at or removed stays."""
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
    """Whether a folder holds nothing that is the only one: an old result is, until there is a new one."""
    return suffix == "draft" or out.exists()


def _locked_folder(out: Path, suffix: Suffix) -> tuple[Path, int | None]:
    """A folder of a new name, and its lock where the file system has such."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=f".{suffix}", dir=out.parent))
        lock = _lock(folder, wait=True)
        if folder.is_dir():  # or else another run has cleared it before it was locked
            return folder, lock
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """The open folder, locked until it is closed; None where a process has it, or there is no such lock."""
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
