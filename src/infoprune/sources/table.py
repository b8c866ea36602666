"""Table: rows as columns, with the names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infoprune.sources.item import MediaItem


@dataclass(frozen=True)
class SourceTable:
    """Rows of a file or of a dataset.

    Args:
        source: Path, or name with configuration and split, for messages and reports.
        columns: Values by the name of the column; those of classes are their names.
        classes: Names of the classes, in the order of their numbers, by the name of the column.
        media: Pictures or clips by the name of their column, not read yet.
    """

    source: str
    columns: Mapping[str, list[object]]
    classes: Mapping[str, tuple[str, ...]]
    media: Mapping[str, Sequence[MediaItem]] = field(default_factory=dict)
