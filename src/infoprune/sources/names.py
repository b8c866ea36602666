"""Names: what a text that is no local path names on the hub: owner/name, a revision, a configuration, a split."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Type = Literal["model", "dataset"]

SCHEME = "hf://"
"""Prefix of a name on the hub that is never taken for a path."""

_REPOSITORY = r"(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>[^\s:@]+))?"
_MODEL = re.compile(_REPOSITORY)
_DATASET = re.compile(rf"{_REPOSITORY}(?::(?P<first>[^\s:/\\]*))?(?::(?P<second>[^\s:/\\]+))?")


@dataclass(frozen=True)
class Repository:
    """Name of a repository on the hub.

    Args:
        name: owner/name, or a bare name of the hub's early models and datasets.
        revision: Branch, tag or commit; None means the default branch.
        type: "model" or "dataset".
        given: Text that the user has passed.
    """

    name: str
    revision: str | None
    type: Type
    given: str

    def __str__(self) -> str:
        """Return owner/name@revision."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class DatasetName:
    """Name of a dataset with the two parts that may follow it.

    Args:
        repository: Repository of the dataset.
        first: Configuration, or the split where it is the only part; None or empty where there is none.
        second: Split; None where there is none.
    """

    repository: Repository
    first: str | None
    second: str | None


def model_name(text: str) -> Repository | None:
    """Read owner/name or owner/name@revision; return None where a text is no such name.

    Examples:
        >>> str(model_name("owner/name@v1"))
        'owner/name@v1'
    """
    found = _MODEL.fullmatch(text.removeprefix(SCHEME))
    return None if found is None else Repository(found["name"], found["revision"], "model", text)


def dataset_name(text: str) -> DatasetName | None:
    """Read owner/name:configuration:split, of which the last two may be missing; return None for other texts.

    Examples:
        >>> dataset_name("nyu-mll/glue:sst2:validation").second
        'validation'
    """
    found = _DATASET.fullmatch(text.removeprefix(SCHEME).removeprefix("datasets/"))
    if found is None:
        return None
    repository = Repository(found["name"], found["revision"], "dataset", text)
    return DatasetName(repository, found["first"] or None, found["second"])


def is_path(text: str) -> bool:
    """Return whether a text can only be a path: by its form, or because it begins with the name of a local folder.

    Examples:
        >>> is_path("./my-classifier"), is_path("owner/name"), is_path("hf://owner/name")
        (True, False, False)
    """
    if text.startswith(SCHEME):
        return False
    return (
        text.startswith((".", "~", "/"))
        or text.endswith("/")
        or "\\" in text
        or Path(text).is_absolute()
        or os.path.lexists(Path(text).parts[0] if text else "")
    )


def near(text: str) -> str | None:
    """Return the local folder whose name is most like a name that does not exist, or None."""
    folder = Path(text).parent
    try:
        there = [each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    except OSError:
        return None
    found = difflib.get_close_matches(Path(text).name, there, n=1, cutoff=0.7)
    return str(folder / found[0]) if found else None
