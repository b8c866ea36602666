"""Media: pictures or clips with optional labels and transcripts, from folders, files and datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from infoprune.data.columns import column_named, labels_in, strings_in
from infoprune.data.media_folder import Media
from infoprune.data.places import Place, places, read_place
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.sources.item import MediaItem
from infoprune.sources.table import SourceTable

USUAL: Mapping[Media, tuple[str, ...]] = {"pictures": ("image", "picture", "photo", "img"), "clips": ("audio", "clip")}
"""Names by which a column is found among several of pictures or clips."""
TRANSCRIPTS = ("text", "sentence", "transcription", "transcript")
"""Columns in which transcripts are found."""


@dataclass(frozen=True)
class MediaData:
    """Pictures or clips with optional labels and transcripts, row by row; they are read when they are needed.

    Args:
        items: The pictures or clips.
        labels: Label of each as a string, or None.
        transcripts: What is said in each clip, or None.
        source: Name of the folder or other source, for messages and reports.
        classes: Names of the classes in the order of their numbers, where the source knows them; or None.
    """

    items: tuple[MediaItem, ...]
    labels: tuple[str, ...] | None
    transcripts: tuple[str, ...] | None
    source: str
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.items)

    def among(self, rows: Sequence[int]) -> MediaData:
        """Return the rows with the given numbers, in the given order."""
        labels, said = (
            None if of is None else tuple(of[row] for row in rows) for of in (self.labels, self.transcripts)
        )
        return MediaData(tuple(self.items[row] for row in rows), labels, said, self.source, self.classes)

    def scored(self, scored: bool) -> MediaData:
        """Return the rows with their labels, or without."""
        return self if scored else replace(self, labels=None)


Data = TextData | MediaData
"""What a job reads: rows of texts, or of pictures or clips."""


def read_media(
    path: Place | Sequence[Place],
    media: Media,
    *,
    label: str | None = None,
    transcript: str | None = None,
    need_labels: bool = False,
    transcripts: bool = True,
    need_transcripts: bool = False,
    split: str = "train",
) -> MediaData:
    """Read pictures or clips, with labels or transcripts where there are any; the files themselves are not opened yet.

    A place is a folder of files: in sub-folders named after classes, listed in metadata.csv or metadata.jsonl with a
    column file_name, or neither. It may also be such a table, a file, a pattern of files, a parquet file, a folder
    written by ``save_to_disk``, or a dataset on the hub, as in `read_texts`.

    Args:
        path: A place, or several.
        media: What the model reads.
        label: Column of the labels; by default ``label`` where there is one.
        transcript: Column of the transcripts; by default one of ``TRANSCRIPTS``.
        need_labels: Whether missing labels are an error.
        transcripts: Whether the transcripts of clips are read.
        need_transcripts: Whether missing transcripts are an error.
        split: Split that is read where none is named and there are several.

    Returns:
        All rows in their order. With several places, labels and transcripts are returned where all have them.

    Raises:
        InputError: A place cannot be read, holds none of these, or lacks a column.

    Examples:
        >>> read_media("photos", "pictures").labels[:2]
        ('cat', 'cat')
    """
    parts = []
    for place in places(path):
        table = read_place(place, split, media)
        items = _items(table, media)
        labels = _labels(table, label, need_labels)
        said = _transcripts(table, transcript, need_transcripts) if media == "clips" and transcripts else None
        classes = table.classes.get(label or "label")
        parts.append(MediaData(tuple(items), labels, said, table.source, classes))
    return _joined(parts)


def _items(table: SourceTable, media: Media) -> Sequence[MediaItem]:
    names = list(table.media)
    usual = [name for name in names if name in USUAL[media]]
    found = names if len(names) == 1 else usual
    if len(found) != 1:
        there = f"{len(names)} columns of them ({', '.join(names)})" if names else f"no column of {media}"
        remedy = "keep one, e.g. by Dataset.remove_columns" if names else "pass another dataset"
        raise InputError(f"{table.source} has {there}, expected one; {remedy}")
    return table.media[found[0]]


def _labels(table: SourceTable, label: str | None, needed: bool) -> tuple[str, ...] | None:
    required = needed or label is not None
    if "label" not in table.columns and not required:
        return None
    if not table.columns:
        raise InputError(
            f"{table.source}: no labels, expected a sub-folder for each class, or metadata.csv with the columns "
            "file_name and label; add them"
        )
    name = column_named(table.columns, table.source, label or "label", "label")
    loose = (
        [number for number, value in enumerate(table.columns[name]) if value is None] if name in table.classes else []
    )
    if required and loose:
        item = next(iter(table.media.values()))[loose[0]]
        raise InputError(
            f"{table.source}: {item.name} has no class, expected it in a sub-folder named after one, or a label; move "
            "or remove it"
        )
    return labels_in(table.columns, table.source, name, required)


def _transcripts(table: SourceTable, column: str | None, needed: bool) -> tuple[str, ...] | None:
    if column is not None:
        return strings_in(table.columns, table.source, column_named(table.columns, table.source, column, "text"))
    name = next((name for name in TRANSCRIPTS if name in table.columns), None)
    if name is not None:
        return strings_in(table.columns, table.source, name)
    if needed:
        raise InputError(
            f"{table.source}: no transcripts, expected a column {', '.join(TRANSCRIPTS[:-1])} or {TRANSCRIPTS[-1]}, in "
            "a folder by metadata.csv with file_name; pass the column as `text`, or a model to compare as `against`"
        )
    return None


def _joined(parts: Sequence[MediaData]) -> MediaData:
    """Join the rows of several sources."""
    first = parts[0]
    if len(parts) == 1:
        return first
    labels = [part.labels for part in parts if part.labels is not None]
    said = [part.transcripts for part in parts if part.transcripts is not None]
    return MediaData(
        tuple(item for part in parts for item in part.items),
        tuple(label for each in labels for label in each) if len(labels) == len(parts) else None,
        tuple(text for each in said for text in each) if len(said) == len(parts) else None,
        f"{first.source} and {len(parts) - 1} more",
        first.classes if all(part.classes == first.classes for part in parts) else None,
    )
