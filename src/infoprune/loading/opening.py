"""Opening: the config of a folder, the class that it names, and a model of that class without values."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import MODEL_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel

from infoprune.errors import InputError, reason_of
from infoprune.files.model_folder import CONFIG, only_class
from infoprune.files.weights import weight_names
from infoprune.loading.record import empty_of

POOLER = "add_pooling_layer"


def config_in(path: Path) -> PretrainedConfig:
    """Return the config in a folder.

    Raises:
        InputError: transformers cannot read it.
    """
    try:
        with _silent():
            config: PretrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        # The errors of a damaged config depend on its class and on the release of transformers.
        raise InputError(
            f"{path / CONFIG} cannot be read by transformers ({reason_of(error)}); check the file"
        ) from None
    if str(config._attn_implementation).startswith("flash"):
        # The wish of who saved the model for another machine: the answers are the same, and a CPU has no such kernel.
        config._attn_implementation = None
    return config


def class_in(path: Path, config: PretrainedConfig, *, headless: bool = False) -> type[PreTrainedModel]:
    """Return the class that a config names, or the one without a head.

    Raises:
        InputError: It is no class of transformers, or cannot have as many outputs as the config says.
    """
    if headless and type(config) in MODEL_MAPPING:
        base: Any = MODEL_MAPPING[type(config)]
        return base[0] if isinstance(base, tuple) else base  # type: ignore[no-any-return]
    name = only_class(config.architectures)
    found = None if name is None else getattr(transformers, name, None)
    if not (isinstance(found, type) and issubclass(found, PreTrainedModel)):
        raise InputError(
            f"{path / CONFIG} names the architectures {_short(config.architectures)}, expected one class of "
            "transformers; save the model with save_pretrained from its own class"
        )
    if found.__name__.endswith("ForQuestionAnswering") and config.num_labels != 2:
        raise InputError(
            f"{path / CONFIG} gives a {found.__name__} {config.num_labels} labels, expected 2: the start and the end "
            "of an answer; remove num_labels, id2label and label2id from the file"
        )
    return found


def empty_in(path: Path, model_class: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    """Return a model of stock sizes, as its class builds it from a config, on the meta device.

    Raises:
        InputError: The config describes no such model.
    """
    try:
        with _silent():
            return empty_of(model_class, config, without_pooler(path, model_class))
    except Exception as error:
        raise InputError(f"{path / CONFIG} describes no model ({reason_of(error)}); check the file") from None


def without_pooler(path: Path, model_class: type[PreTrainedModel]) -> dict[str, Any]:
    """Return the options that leave out the pooler of a headless model where its weights have none."""
    if POOLER not in inspect.signature(model_class).parameters:
        return {}
    names = list(weight_names(path))
    return {POOLER: False} if names and not any("pooler." in name for name in names) else {}


def _short(value: object) -> str:
    return " ".join(str(value).split())[:80]


@contextmanager
def _silent() -> Iterator[None]:
    """Let transformers log nothing within the block: before it raises an error, it prints whole configs."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
