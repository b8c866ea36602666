"""Tasks: the columns, inputs and correct answers of each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.checkpoint import Preprocessor
from infoprune.data.batches import label_ids, label_numbers, label_rows, sampled
from infoprune.data.media import Data, MediaData
from infoprune.errors import InputError
from infoprune.jobs.inputs import Batches, Columns, Packing, Texts
from infoprune.jobs.media import media_batches
from infoprune.pipeline.clock import StageProgress
from infoprune.statistics.calibration import with_targets
from infoprune.tasks.table import Task
from infoprune.tasks.targets import with_masks, with_tags, with_texts


def targets(model: PreTrainedModel, data: Data) -> Sequence[int] | Sequence[float] | Sequence[Sequence[float]] | None:
    """Return the correct answer of a classifier for each input; None where the data has no labels.

    Raises:
        InputError: A label is unknown to the model.
    """
    if data.labels is None:
        return None
    try:
        if getattr(model.config, "problem_type", None) == "multi_label_classification":
            return label_rows(data.labels, int(model.config.num_labels or 0))
        if model.config.num_labels == 1:
            return label_numbers(data.labels)
        return label_ids(data.labels, model.config, data.classes)
    except InputError as error:
        raise InputError(f"{data.source}: {error}") from None


def check_columns(task: Task, columns: Columns) -> None:
    """Raise InputError where the columns do not match the task."""
    if columns.text is not None and task.reads != "texts" and task.truth != "text":
        raise InputError(f"`text` is {columns.text!r}, but {task.name} reads {task.reads}; leave `text` out")
    if task.reads == "clips" and task.truth == "text" and columns.text_pair is not None:
        raise InputError(
            f"`text_pair` is {columns.text_pair!r}, but {task.name} reads clips; pass the column of the transcripts as "
            "`text`"
        )
    if columns.label is not None and task.truth not in ("labels", "tags"):
        raise InputError(f"`label` is {columns.label!r}, but {task.name} reads no labels; leave `label` out")
    if task.name == "question-answering" and columns.text_pair is None:
        raise InputError(
            "question-answering reads two texts per input, but no second one was given; "
            "pass the columns of question and context as `text` and `text_pair`"
        )
    if columns.text_pair is not None and task.name not in PAIRED:
        what = "one text per input" if task.reads == "texts" else task.reads
        raise InputError(f"`text_pair` is {columns.text_pair!r}, but {task.name} reads {what}; leave `text_pair` out")


PAIRED = ("classification", "question-answering", "seq2seq")


def read(
    task: Task,
    columns: Columns,
    path: Texts,
    *,
    scored: bool,
    needed: bool = False,
    split: str = "train",
    progress: StageProgress | None = None,
) -> Data:
    """Read texts, pictures or clips, with the labels or targets of the task.

    Args:
        task: Task that decides which columns are read.
        columns: Names of the columns.
        path: The texts, pictures or clips.
        scored: Whether to read the labels, if the task has any.
        needed: Whether inputs without the labels or targets are an error.
        split: Split of a dataset where none is named.
        progress: Called with (stage, done, of) where a dataset has to be fetched.

    Raises:
        InputError: They cannot be read, or lack a column.
    """
    labelled = task.truth in ("labels", "tags")
    if needed and task.truth == "none":
        raise InputError(
            f"a model for {task.name} has no score of its own; pass the model to compare it with as `against=DIR`"
        )
    if needed and task.truth == "targets" and columns.text_pair is None:
        raise InputError(
            "seq2seq is scored on target texts; pass their column as `text_pair`, or a model to compare as `against`"
        )
    if task.reads != "texts":
        # a decoder reads transcripts in the calibration too
        writes = task.truth == "text" and (scored or task.vocabulary)
        return columns.read_media(
            path,
            task.reads,
            labels=scored,
            need_labels=needed and labelled,
            transcripts=writes,
            need_transcripts=needed and writes,
            split=split,
            progress=progress,
        ).scored(scored and labelled)
    data = columns.read(
        path, labels=scored and labelled, need_labels=needed and labelled, split=split, progress=progress
    )
    return data if scored and labelled else replace(data, labels=None)


def inputs_of(data: Data, task: Task, model: PreTrainedModel, preprocessor: Preprocessor, packing: Packing) -> Batches:
    """Make batches of all inputs without labels, for calibration and training; those of pictures are lazy."""
    if isinstance(data, MediaData):
        return media_batches(data, task, model, preprocessor, packing)
    tokenizer = cast(PreTrainedTokenizerBase, preprocessor)
    if task.truth == "targets" and data.pairs is not None:
        size, length = packing.size(task), packing.length(model, tokenizer)
        batches = with_texts(data, tokenizer, model.config, batch_size=size, max_length=length)
        return packing.fitted(batches, model, tokenizer)
    return packing.pack(data, model, tokenizer, task=task)


def eval_batches_of(
    data: Data, task: Task, model: PreTrainedModel, preprocessor: Preprocessor, packing: Packing, seed: int
) -> Batches:
    """Make evaluation batches of all inputs, with the correct answers where they are known."""
    if isinstance(data, MediaData):
        labels = targets(model, data) if task.truth == "labels" else None
        return media_batches(data, task, model, preprocessor, packing, labels)
    tokenizer = cast(PreTrainedTokenizerBase, preprocessor)
    if task.truth == "tags" and data.labels is not None:
        size, length = packing.size(task), packing.length(model, tokenizer)
        tagged = with_tags(data, tokenizer, model.config, batch_size=size, max_length=length)
        return packing.fitted(tagged, model, tokenizer)
    if task.truth == "labels":
        return packing.pack(data, model, tokenizer, task=task, labels=targets(model, data))
    batches = inputs_of(data, task, model, tokenizer, packing)
    if task.name == "masked-lm":
        return with_masks([dict(batch) for batch in batches], tokenizer, seed=seed)
    return with_targets(model, batches)


def split_samples(data: Data, samples: int, seed: int) -> tuple[Data, Data | None]:
    """Return the sampled inputs, and as many of the others, if there are any."""
    rows = sampled(len(data), len(data), seed)
    rest = sorted(rows[samples : 2 * samples])
    return data.among(rows[:samples]), data.among(rest) if rest else None
