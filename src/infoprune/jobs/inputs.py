"""Inputs: arguments that jobs share: columns of files, batches, result folders and devices."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.batches import check_room, default_max_length, make_batches
from infoprune.data.media import MediaData, read_media
from infoprune.data.media_folder import Media
from infoprune.data.places import places
from infoprune.data.texts import TextData, read_texts
from infoprune.errors import InputError
from infoprune.files.folders import check_new
from infoprune.pipeline.clock import StageProgress
from infoprune.statistics.accept import accept
from infoprune.structure.positions import position_limit
from infoprune.tasks.evaluate import Progress
from infoprune.tasks.table import Task

StrPath = str | PathLike[str]
Texts = StrPath | Sequence[StrPath]
"""Texts: a place, or several; see `read_texts` for what a place can be."""

Batches = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Columns:
    """Columns of texts to read; None means the default ones, see `read_texts`."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None

    def read(
        self,
        path: Texts,
        *,
        labels: bool = True,
        need_labels: bool = False,
        split: str = "train",
        progress: StageProgress | None = None,
    ) -> TextData:
        """Read texts, and with `labels` their labels where there are any.

        Args:
            path: The texts, see `read_texts`.
            labels: Whether the column of the labels is read.
            need_labels: Whether texts without labels are an error.
            split: Split of a dataset where none is named.
            progress: Called with (stage, done, of) where a dataset has to be fetched.
        """
        label = self.label if labels else None
        with _fetching(path, "texts", progress):
            return read_texts(
                path, text=self.text, text_pair=self.text_pair, label=label, need_labels=need_labels, split=split
            )

    def read_media(
        self,
        path: Texts,
        media: Media,
        *,
        labels: bool = True,
        need_labels: bool = False,
        transcripts: bool = False,
        need_transcripts: bool = False,
        split: str = "train",
        progress: StageProgress | None = None,
    ) -> MediaData:
        """Read pictures or clips, with their labels or transcripts where there are any.

        Args:
            path: The pictures or clips, see `read_media`.
            media: What the model reads.
            labels: Whether the column of the labels is read.
            need_labels: Whether missing labels are an error.
            transcripts: Whether the transcripts of clips are read.
            need_transcripts: Whether missing transcripts are an error.
            split: Split of a dataset where none is named.
            progress: Called with (stage, done, of) where a dataset has to be fetched.
        """
        with _fetching(path, media, progress):
            return read_media(
                path,
                media,
                label=self.label if labels else None,
                transcript=self.text,
                need_labels=need_labels,
                transcripts=transcripts,
                need_transcripts=need_transcripts,
                split=split,
            )


@contextmanager
def _fetching(path: Texts, what: str, progress: StageProgress | None) -> Iterator[None]:
    """Report a stage around reading where a dataset has to be fetched."""
    step = progress if any(not os.path.lexists(place) for place in places(path)) else None
    if step is not None:
        step(what, 0, 1)
    yield
    if step is not None:
        step(what, 1, 1)


@dataclass(frozen=True)
class Packing:
    """Batch size and length of inputs.

    Args:
        batch_size: Inputs per batch; None means 32, or 4 where the model outputs logits over the vocabulary or
            reads sound.
        max_length: Tokens at which an input is truncated; None means the limit of tokenizer and model, at most 512.

    Raises:
        InputError: A number is below 1.
    """

    batch_size: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            check_positive("batch_size", self.batch_size)
        if self.max_length is not None:
            check_positive("max_length", self.max_length)

    def size(self, task: Task | None = None) -> int:
        """Return the inputs per batch."""
        return self.batch_size or (4 if task is not None and (task.vocabulary or task.reads == "clips") else 32)

    def length(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return the number of tokens at which an input of this model is truncated.

        Raises:
            InputError: `max_length` is above the number of the model's positions.
        """
        positions = position_limit(model) or getattr(model.config, "max_position_embeddings", None)
        if self.max_length is not None and isinstance(positions, int) and 0 < positions < self.max_length:
            raise InputError(
                f"`max_length` is {self.max_length}, expected at most the {positions} positions of this model; "
                f"pass `max_length={positions}` or less"
            )
        if self.max_length is not None:
            check_room(tokenizer, self.max_length)
        longest = default_max_length(tokenizer, model.config)
        return self.max_length or min(longest, position_limit(model) or longest)

    def pack(
        self,
        data: TextData,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        task: Task | None = None,
        samples: int | None = None,
        labels: Sequence[int] | Sequence[float] | Sequence[Sequence[float]] | None = None,
        seed: int = 0,
        sort: bool = True,
    ) -> list[dict[str, Tensor]]:
        """Make batches of texts for a model; see `make_batches` and `accept`."""
        batches = make_batches(
            data,
            tokenizer,
            batch_size=self.size(task),
            max_length=self.length(model, tokenizer),
            labels=labels,
            samples=samples,
            seed=seed,
            sort=sort,
        )
        return self.fitted(batches, model, tokenizer)

    def fitted(
        self, batches: Sequence[dict[str, Tensor]], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Tensor]]:
        """Return batches with what the model takes.

        Raises:
            InputError: They do not fit the tables of the model, e.g. hold tokens that it does not have.
        """
        return [dict(batch) for batch in accept(model, batches, tokenizer)]


def stage(name: str, progress: StageProgress | None) -> Progress | None:
    """Return the progress callback of one stage."""
    return None if progress is None else partial(progress, name)


def check_positive(option: str, number: float) -> None:
    """Raise InputError unless a number is above zero."""
    if not number > 0:
        raise InputError(f"`{option}` is {number}, expected a number above 0; pass a larger one")


def check_apart(out: StrPath, *inputs: Texts | None, force: bool) -> None:
    """Raise InputError where `out` must not be written: it is not empty, or replacing it would delete an input."""
    check_new(out, force=force)
    folder = Path(out).resolve()
    for each in inputs:
        for given in () if each is None else places(each):
            if Path(given).resolve().is_relative_to(folder) and os.path.lexists(given):  # else a name on the hub
                raise InputError(f"{out} contains the input {given}, expected a separate folder; choose another name")


def unfinished(out: StrPath) -> Path:
    """Return the folder beside `out` for checkpoints and cells until `out` is written."""
    folder = Path(out).absolute()
    return folder.with_name(f"{folder.name}.unfinished")


def forget_unfinished(out: StrPath) -> None:
    """Remove the folder of `unfinished`, once `out` is written."""
    shutil.rmtree(unfinished(out), ignore_errors=True)


def device_named(name: str) -> torch.device:
    """Return the device with a name; "auto" is the GPU where there is one.

    Raises:
        InputError: There is no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    there = {"cpu": 1, "cuda": torch.cuda.device_count() if cuda else 0, "mps": int(mps)}
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or (device.index or 0) >= there.get(device.type, 0):
        present = ", ".join(device_type for device_type, count in there.items() if count)
        raise InputError(f"`device` is {name!r}, expected auto or one of: {present}; pass `device=auto`")
    return device
