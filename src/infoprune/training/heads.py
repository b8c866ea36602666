"""Heads: open a model with a head for the labels of some data: its own one where it knows them, else a new one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    PretrainedConfig,
    PreTrainedModel,
)

from infoprune.data.batches import label_ids, label_numbers, label_rows
from infoprune.errors import InputError
from infoprune.files.model_folder import only_class, read_config
from infoprune.files.modules import transformer_folder
from infoprune.loading.opening import config_in
from infoprune.loading.reading import read_model
from infoprune.loading.sizes import sizes_in
from infoprune.measuring.measure import takes_waves
from infoprune.training.trainer import quiet_transformers

TEXTS, TOKENS = "ForSequenceClassification", "ForTokenClassification"
PICTURES = "ForImageClassification"
NAMED = 5
"""Names of classes that are listed."""


@dataclass(frozen=True)
class Headed:
    """Model with a head for some labels.

    Args:
        model: The model.
        origin: Sentence on where the head comes from.
    """

    model: PreTrainedModel
    origin: str


def with_head(folder: str | Path, labels: Sequence[str], *, seed: int = 0) -> Headed:
    """Open a model as a classifier of the given labels; the sizes of a pruned one stay.

    A classifier of tokens stays one, and reads its labels as tags, separated by spaces. A model of pictures or of sound
    becomes a classifier of these, every other one a classifier of texts, or, where the labels are numbers with
    decimals, a model of one number. A head that knows all labels is kept.

    Args:
        folder: Folder of a saved model, pruned or not.
        labels: Label values, repeated as in the data.
        seed: Seed of the weights of a new head.

    Raises:
        InputError: There is no model at `folder`, it cannot be a classifier, or there are fewer than two labels.

    Examples:
        >>> with_head("minilm", ["negative", "positive"]).model.config.id2label
        {0: 'negative', 1: 'positive'}
    """
    path = transformer_folder(Path(folder))
    read_config(path)
    config = config_in(path)
    own = only_class(config.architectures) or ""
    ending = PICTURES if reads_pictures(config) else TOKENS if own.endswith(TOKENS) else TEXTS
    model_class = _class_with_head(path, config, own, ending)
    values = [tag for row in labels for tag in row.split()] if ending == TOKENS else list(labels)
    had = config.num_labels if own.endswith(ending) else None
    kept = had is not None and knows(config, values)
    if not kept and ending == TEXTS and not takes_waves(config) and _are_measures(values):
        config.num_labels, config.problem_type = 1, "regression"
    elif not kept:
        _rename(config, sorted_names(values))
    # A missing head and a head of another size are expected here, so their warnings would only distract.
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        model = read_model(path, model_class, config, new_head=True)
    return Headed(model, _origin(model, own, had, kept))


def reads_pictures(config: PretrainedConfig) -> bool:
    """Return whether the classifiers of a family read pictures."""
    return type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING


def knows(config: PretrainedConfig, labels: Sequence[str]) -> bool:
    """Return whether the head that a config describes can be trained on labels as they are."""
    try:
        if config.num_labels == 1:
            return bool(label_numbers(labels))
        if config.problem_type == "multi_label_classification":
            return bool(label_rows(labels, int(config.num_labels or 0)))
        # A damaged id2label may give a class a number that the head does not have.
        return all(number < (config.num_labels or 0) for number in label_ids(labels, config))
    except InputError:
        return False


def sorted_names(labels: Sequence[str]) -> list[str]:
    """Return the distinct labels in sorted order, by number where all are integers.

    Raises:
        InputError: There are fewer than two.
    """
    names = sorted(set(labels))
    if len(names) < 2:
        raise InputError(
            f"the labels hold {len(names)} distinct value(s) {names}, expected two or more classes; pass inputs of each"
        )
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _are_measures(labels: Sequence[str]) -> bool:
    """Return whether labels are numbers that cannot be those of classes, such as scores from 0 to 1."""
    try:
        numbers = label_numbers(labels)
    except InputError:
        return False
    return all(map(math.isfinite, numbers)) and not all(number.is_integer() for number in numbers)


def _class_with_head(path: Path, config: PretrainedConfig, own: str, ending: str) -> type[PreTrainedModel]:
    if own.endswith(ending) and isinstance(found := getattr(transformers, own, None), type):
        return found
    mapping = {
        TEXTS: MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
        if takes_waves(config)
        else MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        TOKENS: MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        PICTURES: MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    }[ending]
    if type(config) not in mapping:
        raise InputError(
            f"{path} holds a {config.model_type} model, and transformers has no ...{ending} for it, expected a model "
            "of texts or pictures that can be a classifier; pass another model"
        )
    classes: Any = mapping[type(config)]
    return classes[0] if isinstance(classes, tuple) else classes  # type: ignore[no-any-return]


def _rename(config: PretrainedConfig, names: Sequence[str]) -> None:
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    config.problem_type = None


def _origin(model: PreTrainedModel, own: str, had: int | None, kept: bool) -> str:
    count, name = model.config.num_labels, type(model).__name__
    names = [str(each) for each in (model.config.id2label or {}).values()]
    listed = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    stay = " The pruned sizes stay." if sizes_in(model.config) is not None else ""
    if count == 1 and not kept:
        return f"{name} gets a new head for one number, since the labels have decimals.{stay}"
    if kept:
        what = "one number" if count == 1 else f"{count} classes"
        return f"The head of {name} for {what} is trained further.{stay}"
    if had == count:
        return f"The head of {name} for {count} classes is trained further, under new names: {listed}.{stay}"
    before = f"{own} has none for labels" if had is None else f"the old one had {had} outputs"
    return f"{name} gets a new head for {count} classes ({listed}); {before}.{stay}"
