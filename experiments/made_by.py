"""Made by: which code and which machine computed a cell, so that cells of other code can be told apart."""

import os
import platform
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch

from infoprune import __version__

LIBRARY = Path(__file__).parent.parent / "src" / "infoprune"
DECIDING = (
    "budgets",
    "families",
    "information",
    "methods",
    "pipeline",
    "ranking",
    "repairing",
    "statistics",
    "structure",
    "surgery.py",
    "training",
    "vocabulary",
)
"""Parts of the library that decide a result; the others read, write, count and print."""


def made_by() -> dict[str, str]:
    """Return the version, the digest of the sources that decide a result, and the machine."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return {"version": __version__, "sources": sources(), "machine": machine}


@cache
def sources() -> str:
    """Return the digest of the sources that decide a result."""
    return digest(path for part in DECIDING for path in _files(LIBRARY / part))


def digest(paths: Iterable[Path]) -> str:
    """Return twelve digits that change with the name or the text of any of these files."""
    found = sha256()
    for path in sorted(paths):
        text = path.read_bytes()
        found.update(f"{path.relative_to(LIBRARY.parent)}\0{len(text)}\0".encode())
        found.update(text)
    return found.hexdigest()[:12]


def _files(part: Path) -> list[Path]:
    return [part] if part.is_file() else list(part.rglob("*.py"))
