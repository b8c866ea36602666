"""Places: the files and datasets that an argument names: a path, a pattern, a name on the hub, or several of these."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from infoprune.data.media_folder import Media, holds, read_media_place
from infoprune.data.tables import SUFFIXES, read_table
from infoprune.errors import InputError
from infoprune.sources.names import SCHEME, dataset_name, is_path
from infoprune.sources.saved import saved_folder
from infoprune.sources.table import SourceTable

Place = str | os.PathLike[str]


def places(given: Place | Sequence[Place]) -> list[Place]:
    """Return the places that an argument names, each once: patterns such as "part-*.csv" become their files, sorted.

    Raises:
        InputError: No file matches a pattern, or none was given.

    Examples:
        >>> places(["a.csv", "part-*.csv"])
        ['a.csv', 'part-1.csv', 'part-2.csv']
    """
    if isinstance(given, str | os.PathLike):
        given = (given,)
    found: list[Place] = []
    for place in given:
        text = os.fspath(place)
        if re.search(r"[*?[]", text) is None or os.path.lexists(text):
            found.append(place)
            continue
        files = sorted(path for path in glob.glob(text, recursive=True) if os.path.isfile(path))
        if not files:
            raise InputError(f"{text}: no file matches this pattern, expected at least one; check the path")
        found += files
    if not found:
        raise InputError("no file of texts was given, expected at least one; pass e.g. `data=texts.csv`")
    return list({os.fspath(place): place for place in found}.values())


def read_place(place: Place, split: str = "train", media: Media | None = None) -> SourceTable:
    """Read a file, a folder from `save_to_disk`, or a dataset of the hub.

    Args:
        place: Path, or owner/dataset with :configuration:split behind it where needed; a `Path` is always a path.
        split: Split to read where none is named and there are several.
        media: What the rows hold, "pictures" or "clips"; None means texts.

    Raises:
        InputError: It cannot be read.
    """
    text = os.fspath(place)
    saved = saved_folder(text)
    if saved is not None:
        from infoprune.sources.rows import rows_of_folder  # takes time to import, and files do not need it

        return rows_of_folder(*saved, split)
    name = dataset_name(text) if isinstance(place, str) else None
    if name is None or (not text.startswith(SCHEME) and text.endswith(SUFFIXES)):
        return _local(text, split, media)
    if is_path(text):
        if "/" in text and not Path(text).exists():
            raise InputError(
                f"{text}: no such file; expected a data file; check the path, or write {SCHEME}{text} if it is a "
                "dataset on the hub"
            )
        return _local(text, split, media)
    from infoprune.sources.rows import rows_on_hub

    return rows_on_hub(name, split, media=media is not None)


def _local(text: str, split: str, media: Media | None) -> SourceTable:
    """Read a file or a folder of files."""
    path = Path(text)
    if media is not None:
        return read_media_place(path, media, split)
    for each in _MEDIA:
        if holds(path, each):
            raise InputError(
                f"{text} holds {each}, but the model reads texts, expected e.g. a csv file; pass texts, or a model of "
                f"{each}"
            )
    return SourceTable(text, read_table(path), {})


_MEDIA: tuple[Media, ...] = ("pictures", "clips")
