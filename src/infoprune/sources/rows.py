"""Rows: the columns of a dataset, on the hub or in a folder that `save_to_disk` wrote."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, Features, LargeList, List, Value
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
from huggingface_hub import HfFileSystem
from huggingface_hub.errors import HfHubHTTPError

from infoprune.errors import InputError
from infoprune.sources.media_rows import is_media, media_of, undecoded_media, with_bytes
from infoprune.sources.names import DatasetName, Repository
from infoprune.sources.refusals import address, gated, no_revision, not_found, reason, refusals, unreachable
from infoprune.sources.table import SourceTable

MOST_BYTES = 1 << 30
"""Files of a larger configuration are not all fetched: its first rows are read as they arrive."""

MOST_ROWS = 100_000
"""Rows that are read of such a configuration."""

BUFFER = 10_000
"""Rows among which they are shuffled, since many datasets are sorted by label."""

MOST_MEDIA, MEDIA_BUFFER = 4_096, 512
"""The same where rows hold pictures or clips, which take a thousand times the memory."""

INSTEAD = {"validation": ("valid", "dev", "test")}
"""Splits that are read where the wanted one is missing."""


def rows_of_folder(folder: Path, split: str | None, wanted: str = "train") -> SourceTable:
    """Read a folder that `save_to_disk` wrote.

    Args:
        folder: Folder of one split, or of several.
        split: Split to read, or None.
        wanted: Split that is read where none is named and there are several.

    Raises:
        InputError: The folder is damaged, or there is no such split.
    """
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # those of pyarrow, datasets and the file system
        raise InputError(
            f"{folder} cannot be read as a dataset ({type(error).__name__}: {reason(error)}), expected one from "
            "save_to_disk; save it again"
        ) from error
    if isinstance(found, DatasetDict):
        name = _split(str(folder), list(found), split, wanted)
        return _rows(f"{folder}:{name}", found[name])
    if split is not None:
        raise InputError(f"{folder} has a single split, but {split!r} was named; leave it out")
    return _rows(str(folder), found)


def rows_on_hub(name: DatasetName, wanted: str = "train", *, media: bool = False) -> SourceTable:
    """Read a dataset of the hub; scripts are never run.

    Args:
        name: Name of the dataset, with a configuration and a split if they are given.
        wanted: Split that is read where none is named and there are several.
        media: Whether pictures and clips are needed.

    Raises:
        InputError: There is no such dataset, configuration or split, no access to it, or its files cannot be read.
    """
    if Path(name.repository.name).exists():  # datasets would take it for that folder
        raise InputError(
            f"{name.repository} is a dataset on the hub and a local folder too, expected one of them; run in another "
            "folder, or rename it"
        )
    with _refused(name.repository):
        builder, config, split = _builder(name)
        known = list(builder.info.splits or builder.config.data_files or ())
    source = f"{name.repository}:{config}" if config else str(name.repository)
    split = _split(source, known, split, wanted)
    source = f"{source}:{split}"
    with _refused(name.repository):
        if _bytes(builder) > MOST_BYTES:
            return _rows(source, _first_rows(builder, split, source, media=media))
        builder.download_and_prepare()
        return _rows(source, builder.as_dataset(split=split))


def _builder(name: DatasetName) -> tuple[Any, str | None, str | None]:
    """Return the builder, the configuration and the named split; one part behind a name may be either."""
    repository, first = name.repository, name.first
    if first is not None:
        try:
            return _load(repository, first), first, name.second
        except ValueError as error:  # there is no such configuration
            if name.second is not None:
                raise InputError(_no_config(repository, first, error)) from None
    try:
        return _load(repository, None), None, name.second or first
    except ValueError as error:
        if len(_configs(repository, error)) < 2:
            raise
        raise InputError(_no_config(repository, first, error)) from error


def _load(repository: Repository, config: str | None) -> Any:  # noqa: ANN401  a class made by datasets
    return datasets.load_dataset_builder(repository.name, config, revision=repository.revision)


def _configs(repository: Repository, error: ValueError) -> list[str]:
    """Return the names of the configurations: those in the cache, where these alone are known, else all."""
    cached = re.search(r"in the cache: (.*)", str(error))
    if cached is not None:
        return re.findall(r"[^\s,'\[\]]+", cached[1])
    return list(datasets.get_dataset_config_names(repository.name, revision=repository.revision))


def _no_config(repository: Repository, given: str | None, error: ValueError) -> str:
    configs = _configs(repository, error)
    missing = "several configurations" if given is None else f"no configuration {given!r}"
    return f"{repository} has {missing}, there are {_some(configs)}; name one, e.g. {repository}:{configs[0]}"


def _split(source: str, known: Sequence[str], split: str | None, wanted: str) -> str:
    """Return the split to read: the named one, the only one, or the wanted one."""
    if split is None:
        candidates = [name for name in (wanted, *INSTEAD.get(wanted, ())) if name in known]
        split = known[0] if len(known) == 1 else next(iter(candidates), None)
    if split is None or split not in known:
        missing = f"no split {split or wanted!r}"
        raise InputError(f"{source} has {missing}, there are {_some(known)}; name one, e.g. {source}:{known[0]}")
    return split


@contextmanager
def _refused(repository: Repository) -> Iterator[None]:
    """Raise InputError in place of the errors of datasets and of the hub's libraries."""
    with refusals(repository):
        try:
            yield
        except DatasetNotFoundError as error:  # which of the three is told by its text alone
            text = str(error)
            why = gated if "gated" in text else no_revision if text.startswith("Revision") else not_found
            raise InputError(why(repository)) from error
        except (DataFilesNotFoundError, EmptyDatasetError) as error:
            raise InputError(
                f"{address(repository)} has no files of rows, expected e.g. parquet; {_BY_HAND}"
            ) from error
        except ConnectionError as error:
            raise InputError(unreachable(repository)) from error
        except (InputError, HfHubHTTPError, OSError):
            raise
        except Exception as error:
            cause = error.__cause__ or error
            missing = isinstance(cause, ImportError)  # a package that datasets wants, such as torchcodec for folders
            raise InputError(
                f"{repository} cannot be read ({type(cause).__name__}: {reason(cause)}), expected a dataset of files, "
                f"without code; {'install the package, or ' if missing else ''}{_BY_HAND}"
            ) from error


_BY_HAND = "read it by hand and write its rows to a csv or parquet file"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _bytes(builder: Any) -> int:  # noqa: ANN401
    """Return the size of the files of all splits, as far as it is known."""
    if builder.info.download_size:
        return int(builder.info.download_size)
    places = [place for places in (builder.config.data_files or {}).values() for place in places]
    system = HfFileSystem()
    return sum(system.info(place)["size"] for place in places if place.startswith("hf://"))


def _first_rows(builder: Any, split: str, source: str, *, media: bool) -> Dataset:  # noqa: ANN401
    """Read some rows as they arrive: of files in shuffled order, and shuffled among those near them."""
    stream = builder.as_streaming_dataset(split=split)
    known = stream.features
    if known is not None:
        wanted = [name for name, feature in known.items() if _is_read(feature) or (media and is_media(feature))]
        stream = stream.select_columns(wanted)
        for name, feature in undecoded_media(known).items():
            stream = stream.cast_column(name, feature) if name in wanted else stream
    most, buffer = (MOST_MEDIA, MEDIA_BUFFER) if media else (MOST_ROWS, BUFFER)
    rows = list(stream.shuffle(seed=0, buffer_size=buffer).take(most))
    if len(rows) == most:
        total = (builder.info.splits or {}).get(split)
        of = f"{total.num_examples:,} rows" if total is not None and total.num_examples else "more rows"
        warnings.warn(
            f"{source} has {of}, of which {most:,} are read; to choose others, save them with save_to_disk and "
            "pass that folder",
            stacklevel=4,
        )
    return _as_they_are(rows, stream.features)


def _as_they_are(rows: list[dict[str, Any]], features: Features | None) -> Dataset:
    """Return rows with these features; pictures and sounds are stored without the packages that would decode them."""
    media = undecoded_media(features or {})
    for name in media:
        for row in rows:
            row[name] = with_bytes(row[name])
    stored = {name: {"bytes": Value("binary"), "path": Value("string")} for name in media}
    made = Dataset.from_list(rows, features=None if features is None else Features({**features, **stored}))
    for name, feature in media.items():
        made = made.cast_column(name, feature)
    return made


@dataclass(frozen=True)
class _LazyColumns(Mapping[str, list[object]]):
    """Columns that become lists when they are asked for; pictures, sounds and records are left out."""

    dataset: Dataset

    def __iter__(self) -> Iterator[str]:
        return (name for name, feature in self.dataset.features.items() if _is_read(feature))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> list[object]:
        if name not in set(self):
            raise KeyError(name)
        values = self.dataset.select_columns([name]).with_format("arrow")[:][name].to_pylist()
        classes = _classes(self.dataset.features[name])
        return values if classes is None else [_named(value, classes) for value in values]


def _rows(source: str, dataset: Dataset) -> SourceTable:
    if not len(dataset):
        raise InputError(f"{source} has no rows, expected at least one; name another split")
    found = {name: _classes(feature) for name, feature in dataset.features.items()}
    return SourceTable(
        source,
        _LazyColumns(dataset),
        {name: classes for name, classes in found.items() if classes is not None},
        media_of(dataset, source),
    )


def _is_read(feature: object) -> bool:
    """Return whether the values of a column are texts, numbers, classes, or lists of them."""
    inner = _inner(feature)
    return isinstance(inner, ClassLabel) or (isinstance(inner, Value) and "binary" not in inner.dtype)


def _inner(feature: object) -> object:
    return feature.feature if isinstance(feature, List | LargeList) else feature


def _classes(feature: object) -> tuple[str, ...] | None:
    inner = _inner(feature)
    return tuple(inner.names) if isinstance(inner, ClassLabel) and inner.names else None


def _named(value: Any, classes: tuple[str, ...]) -> object:  # noqa: ANN401
    """Return the name of a class for its number; a number below 0 tells that the label is not published."""
    if isinstance(value, list):
        return [_named(each, classes) for each in value]
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else None
