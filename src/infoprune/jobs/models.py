"""Models: check the config of a folder before the weights are read, then load model and tokenizer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from infoprune.checkpoint import Preprocessor, load
from infoprune.data.tokenizing import unchanged
from infoprune.errors import InputError, reason_of
from infoprune.files.model_folder import CONFIG, only_class, read_config
from infoprune.jobs.inputs import StrPath
from infoprune.jobs.preprocessors import (
    open_image_processor,
    open_processor,
    try_image_processor,
    try_processor,
)
from infoprune.loading.opening import config_in
from infoprune.measuring.measure import device_of, example_batch
from infoprune.statistics.answer import pool_by
from infoprune.statistics.padding import use_padding_of
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.sites import family_named
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.tasks.table import Task, task_named, task_of_class

TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")
TRIAL, LENGTH = "A film, 1.", 8
"""Text that every tokenizer has to split, and tokens at which it is truncated."""


def check_family(folder: StrPath, structures: Collection[str] | None = None) -> None:
    """Raise InputError where a model cannot be pruned according to its config; the weights are not read."""
    family_named(read_config(folder)["model_type"], structures)


def chosen_task(folder: StrPath, name: str | None = None) -> Task:
    """Return the requested task, by default that of the class in config.json or, for sentence-transformers, embedding.

    Raises:
        InputError: There is no such task, or the model is for another one; the weights are not read.
    """
    wanted = None if name is None else task_named(name)
    sentence = read_sentence_folder(folder)
    config = read_config(folder if sentence is None else sentence.transformer)
    class_name = only_class(config.get("architectures"))
    own = None if class_name is None else task_of_class(class_name)
    if own is None:
        listed = " ".join(str(config.get("architectures") or []).split())[:80]
        raise InputError(
            f"{folder}/config.json lists the architectures {listed}, expected one class of a known task; "
            "save the model with save_pretrained from its own class"
        )
    wanted = wanted or (task_named("embedding") if sentence is not None and sentence.embeds else own)
    decodes = bool(config.get("is_encoder_decoder"))
    if own is not wanted and (wanted.name != "embedding" or decodes):
        remedy = "train one with infoprune finetune" if wanted.truth == "labels" else "leave `task` out"
        raise InputError(
            f"{folder}: {class_name} is for {own.name}, expected a ...{wanted.endings[0]} for {wanted.name}; {remedy}"
        )
    if not wanted.served or (wanted.name == "embedding" and decodes):
        raise InputError(
            f"{folder}: the command line does not support {class_name}, expected a model of texts with a task head; "
            "use infoprune.prune from Python (docs/concepts/families.md)"
        )
    return wanted


def open_model(folder: StrPath, device: torch.device, task: Task) -> tuple[PreTrainedModel, Preprocessor]:
    """Load a dense or pruned model and its tokenizer, or its image processor or processor.

    Raises:
        InputError: They cannot be loaded.
    """
    if task.reads == "pictures":
        processor = open_image_processor(folder)
        model = load(folder)
        model.to(device)  # type: ignore[arg-type]
        try_image_processor(folder, model, processor)
        return model, processor
    if task.reads == "clips":
        processor = open_processor(folder, writes=task.truth == "text")
        model = load(folder)
        model.to(device)  # type: ignore[arg-type]
        try_processor(folder, model, processor)
        return model, processor
    sentence = read_sentence_folder(folder)
    source = folder if sentence is None else sentence.transformer
    tokenizer = open_tokenizer(source)
    model = load(source, headless=task.name == "embedding")
    if sentence is not None:
        if sentence.embeds:
            pool_by(model, sentence.pooling)
        if sentence.prompt:
            warnings.warn(
                f"{folder}: sentence-transformers puts {sentence.prompt[:60]!r} before every text, and the texts are "
                "read as they are; write it before them in the data",
                stacklevel=2,
            )
        # As sentence-transformers does when it loads the folder.
        tokenizer.model_max_length = min(tokenizer.model_max_length, sentence.max_length or tokenizer.model_max_length)
    use_padding_of(tokenizer, model)
    model.to(device)  # type: ignore[arg-type]
    return model, tokenizer


def embedding_length(model: PreTrainedModel) -> int:
    """Return the length of a model's hidden states, which the config of a model with free sizes does not say."""
    batch = example_batch(model.config, 1, 1, device_of(model))
    with evaluation_mode(model), torch.no_grad():
        return int(model.base_model(**batch).last_hidden_state.shape[-1])


def open_tokenizer(folder: StrPath) -> PreTrainedTokenizerBase:
    """Load the tokenizer beside a model.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    if (Path(folder) / CONFIG).is_file():
        config_in(Path(folder))  # transformers reads it too, and a fault in it is none of the tokenizer
    # Without these files transformers makes an empty tokenizer from config.json, to which every word is unknown.
    if not any(True for pattern in TOKENIZER_FILES for _ in Path(folder).glob(pattern)):
        raise InputError(
            f"{folder} has no tokenizer ({', '.join(TOKENIZER_FILES)}), expected one beside the model; "
            "save it there with tokenizer.save_pretrained"
        )
    try:
        with _no_panics():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            _check_known(tokenizer)
            _try_out(tokenizer)
    except Exception as error:
        # The errors of a broken tokenizer depend on its class and on the release of transformers.
        raise InputError(
            f"{folder}: the tokenizer cannot be read or cannot split a text ({reason_of(error)}), expected one that "
            "fits the model; save it again with tokenizer.save_pretrained"
        ) from error
    return tokenizer


def _check_known(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ValueError for what transformers makes of files that it cannot read: a tokenizer that knows no word."""
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ValueError(f"it knows no tokens but the {len(tokenizer)} special ones")
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ValueError(f"model_max_length is {str(tokenizer.model_max_length)[:40]!r}")


def _try_out(tokenizer: PreTrainedTokenizerBase) -> None:
    """Split a short text, so that what is wrong with a tokenizer shows before the work."""
    try:
        with unchanged(tokenizer):
            tokenizer([TRIAL], truncation=True, max_length=LENGTH)
    except Exception as error:
        # A tokenizer of few words and none for all others may still know all words of the data.
        if tokenizer.unk_token is not None or "unk" not in str(error).lower():
            raise


class _PanicError(Exception):
    """Failure inside the tokenizers library, which is no Exception there."""


@contextmanager
def _no_panics() -> Iterator[None]:
    """Raise an Exception where the tokenizers library panics, and drop the trace that it then prints itself."""
    try:
        with _without_stderr():
            yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise _PanicError(str(error)) from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what is written to the file behind stderr within the block, also by code that is not Python."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed already
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
