"""Models: check the config of a folder before the weights are read, then load model and tokenizer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from infoprune.checkpoint import load
from infoprune.errors import InputError
from infoprune.files.model_folder import read_config
from infoprune.jobs.inputs import StrPath
from infoprune.measuring.measure import device_of, example_batch
from infoprune.statistics.answer import pool_by
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.sites import family_named
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.tasks.table import Task, task_named, task_of_class

TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


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
    names: Sequence[str] = config.get("architectures") or ()
    own = task_of_class(names[0]) if len(names) == 1 else None
    if own is None:
        raise InputError(
            f"{folder}/config.json lists the architectures {list(names)}, expected one class of a known task; "
            "save the model with save_pretrained from its own class"
        )
    wanted = wanted or (own if sentence is None else task_named("embedding"))
    decodes = bool(config.get("is_encoder_decoder"))
    if own is not wanted and (wanted.name != "embedding" or decodes):
        remedy = "train one with infoprune finetune" if wanted.truth == "labels" else "leave `task` out"
        raise InputError(
            f"{folder}: {names[0]} is for {own.name}, expected a ...{wanted.endings[0]} for {wanted.name}; {remedy}"
        )
    if not wanted.served or (wanted.name == "embedding" and decodes):
        raise InputError(
            f"{folder}: the command line does not support {names[0]}, expected a model of texts with a task head; "
            "use infoprune.prune from Python (docs/concepts/families.md)"
        )
    return wanted


def open_model(folder: StrPath, device: torch.device, task: Task) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a dense or pruned model and its tokenizer.

    Raises:
        InputError: They cannot be loaded.
    """
    sentence = read_sentence_folder(folder)
    source = folder if sentence is None else sentence.transformer
    tokenizer = open_tokenizer(source)
    model = load(source, headless=task.name == "embedding")
    if sentence is not None:
        pool_by(model, sentence.pooling)
        # As sentence-transformers does when it loads the folder.
        tokenizer.model_max_length = min(tokenizer.model_max_length, sentence.max_length or tokenizer.model_max_length)
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
    # Without these files transformers makes an empty tokenizer from config.json, to which every word is unknown.
    if not any(True for pattern in TOKENIZER_FILES for _ in Path(folder).glob(pattern)):
        raise InputError(
            f"{folder} has no tokenizer ({', '.join(TOKENIZER_FILES)}), expected one beside the model; "
            "save it there with tokenizer.save_pretrained"
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # The errors of a broken tokenizer depend on its class and on the release of transformers.
        raise InputError(
            f"{folder}: the tokenizer cannot be read ({type(error).__name__}), expected one that fits the model; "
            "save it again with tokenizer.save_pretrained"
        ) from error
    return tokenizer
