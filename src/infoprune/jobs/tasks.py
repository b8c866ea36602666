"""What a job does otherwise from task to task: which class opens the model, which columns are read, what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.checkpoint import load
from infoprune.data.batches import drawn
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.jobs.inputs import Batches, Columns, Packing, StrPath, open_tokenizer, read_config, targets
from infoprune.statistics.answer import pool_by
from infoprune.statistics.calibration import with_targets
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.tasks.table import Task, task_named, task_of_class
from infoprune.tasks.targets import with_masks, with_tags, with_texts


def chosen_task(folder: StrPath, asked: str | None = None) -> Task:
    """The task that is asked for, or that of the class in config.json; a sentence-transformers folder is for embedding.

    Raises:
        InputError: there is no such task, or the model is for another one; the weights are not read.
    """
    wanted = None if asked is None else task_named(asked)
    sentence = read_sentence_folder(folder)
    config = read_config(folder if sentence is None else sentence.transformer)
    names: Sequence[str] = config.get("architectures") or ()
    own = task_of_class(names[0]) if len(names) == 1 else None
    if own is None:
        raise InputError(
            f"{folder}/config.json names the architectures {list(names)}, expected one class for a task that is known; "
            "save the model with save_pretrained from its own class"
        )
    wanted = wanted or (own if sentence is None else task_named("embedding"))
    decodes = bool(config.get("is_encoder_decoder"))
    if own is not wanted and (wanted.name != "embedding" or decodes):
        remedy = "train one with infoprune finetune" if wanted.truth == "labels" else "leave --task out"
        raise InputError(
            f"{folder}: {names[0]} is for {own.name}, expected a ...{wanted.endings[0]} for {wanted.name}; {remedy}"
        )
    if not wanted.served or (wanted.name == "embedding" and decodes):
        raise InputError(
            f"{folder}: the command line does not serve {names[0]}, expected a model of texts with an answer; "
            "use infoprune.compress from Python (docs/families.md)"
        )
    return wanted


def open_model(folder: StrPath, device: torch.device, task: Task) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model, dense or pruned, and its tokenizer.

    Raises:
        InputError: they cannot be opened.
    """
    sentence = read_sentence_folder(folder)
    place = folder if sentence is None else sentence.transformer
    tokenizer = open_tokenizer(place)
    model = load(place, headless=task.name == "embedding")
    if sentence is not None:
        pool_by(model, sentence.pooling)
        # As sentence-transformers does when it opens the folder.
        tokenizer.model_max_length = min(tokenizer.model_max_length, sentence.max_length or tokenizer.model_max_length)
    model.to(device)  # type: ignore[arg-type]
    return model, tokenizer


def check_columns(task: Task, columns: Columns) -> None:
    """Raises InputError where the columns do not fit the task."""
    if columns.label is not None and task.truth not in ("labels", "tags"):
        raise InputError(f"--label is {columns.label!r}, but {task.name} reads no labels; leave --label out")
    if task.name == "question-answering" and columns.text_pair is None:
        raise InputError(
            "question-answering needs questions and the texts with the answers; "
            "pass their columns as --text and --text-pair"
        )
    if columns.text_pair is not None and task.name not in PAIRED:
        raise InputError(
            f"--text-pair is {columns.text_pair!r}, but {task.name} reads one text an input; leave --text-pair out"
        )


PAIRED = ("classification", "question-answering", "seq2seq")


def read(task: Task, columns: Columns, path: StrPath, *, scored: bool, needed: bool = False) -> TextData:
    """The texts of a file, with what a score of this task needs.

    Args:
        task: says which columns.
        columns: their names.
        path: of the file.
        scored: read the labels, if the task has any.
        needed: a file without what a score needs is refused.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    labelled = task.truth in ("labels", "tags")
    if needed and task.truth == "none":
        raise InputError(
            f"a model for {task.name} has no score of its own; pass the model to compare it with as --against DIR"
        )
    if needed and task.truth == "targets" and columns.text_pair is None:
        raise InputError(
            "seq2seq is scored on target texts; pass their column as --text-pair, or a model to compare as --against"
        )
    data = columns.read(path, labels=scored and labelled, need_labels=needed and labelled)
    return data if scored and labelled else replace(data, labels=None)


def inputs_of(
    data: TextData, task: Task, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, packing: Packing
) -> Batches:
    """All texts as batches without labels: to train on."""
    if task.truth == "targets" and data.pairs is not None:
        size, length = packing.size(task), packing.length(model, tokenizer)
        return with_texts(data, tokenizer, model.config, batch_size=size, max_length=length)
    return packing.pack(data, model, tokenizer, task=task)


def questions_of(
    data: TextData, task: Task, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, packing: Packing, seed: int
) -> Batches:
    """All texts as batches, with the right answers where they are known: to score models on."""
    if task.truth == "tags" and data.labels is not None:
        size, length = packing.size(task), packing.length(model, tokenizer)
        return with_tags(data, tokenizer, model.config, batch_size=size, max_length=length)
    if task.truth == "labels":
        return packing.pack(data, model, tokenizer, task=task, labels=targets(model, data))
    batches = inputs_of(data, task, model, tokenizer, packing)
    if task.name == "masked-lm":
        return with_masks([dict(batch) for batch in batches], tokenizer, seed=seed)
    return with_targets(model, batches)


def parted(data: TextData, samples: int, seed: int) -> tuple[TextData, TextData | None]:
    """The texts that are drawn, and as many of the others, if there are any."""
    rows = drawn(len(data), len(data), seed)
    rest = sorted(rows[samples : 2 * samples])
    return data.among(rows[:samples]), data.among(rest) if rest else None
