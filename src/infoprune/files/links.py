"""Links: files of a folder that are links, which must not lead out of it."""

from __future__ import annotations

from pathlib import Path

from infoprune.errors import InputError


def check_links(files: Path, folder: Path) -> None:
    """Raise InputError where a file, or one in a folder, is a link out of the folder that it is part of.

    In the hub's cache all files are links to those of the same cache, which are allowed.

    Args:
        files: File or folder.
        folder: Folder that it is part of.
    """
    allowed = _cache(folder) or folder.resolve()
    for file in (files, *files.rglob("*")):
        if not file.resolve().is_relative_to(allowed):
            raise InputError(
                f"{file} is a link to {file.resolve()}, expected a file inside of {folder}; put the file itself there"
            )


def _cache(folder: Path) -> Path | None:
    """Return the cache of huggingface_hub that a folder is part of; None for other folders."""
    path = folder.resolve()
    snapshots = next((each for each in (path, *path.parents) if each.name == "snapshots"), None)
    if snapshots is None or not snapshots.parent.name.startswith("models--"):
        return None
    return snapshots.parent.parent
