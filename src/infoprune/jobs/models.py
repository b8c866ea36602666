"""Models in folders: what a config says, before the weights are read, and then the model with its tokenizer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from infoprune.checkpoint import load, read_config
from infoprune.errors import InputError
from infoprune.jobs.inputs import StrPath
from infoprune.statistics.answer import pool_by
from infoprune.structure.sites import family_named
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.tasks.table import Task, task_named, task_of_class

TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


def check_family(folder: StrPath, kinds: Collection[str] | None = None) -> None:
    """Raises InputError where a model's config says that it cannot be pruned; the weights are not read."""
    family_named(read_config(folder)["model_type"], kinds)


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


def open_tokenizer(folder: StrPath) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside a model.

    Raises:
        InputError: there is none that can be read.
    """
    # Without these transformers makes an empty tokenizer from config.json, to which every word is unknown.
    if not any(True for pattern in TOKENIZER_FILES for _ in Path(folder).glob(pattern)):
        raise InputError(
            f"{folder} has no tokenizer ({', '.join(TOKENIZER_FILES)}), expected one beside the model; "
            "write it there with tokenizer.save_pretrained"
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # Which errors a broken tokenizer raises changes with its kind and with the release that reads it.
        raise InputError(
            f"{folder}: the tokenizer cannot be read ({type(error).__name__}), expected one that fits the model; "
            "write it anew with tokenizer.save_pretrained"
        ) from error
    return tokenizer
