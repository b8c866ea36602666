"""The job of `infoprune finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig, PreTrainedModel

from infoprune.checkpoint import PLAN, load, read_config, save
from infoprune.data.batches import label_ids
from infoprune.errors import InputError
from infoprune.jobs.inputs import (
    Columns,
    Packing,
    StrPath,
    check_apart,
    check_positive,
    device_named,
)
from infoprune.jobs.models import open_tokenizer
from infoprune.tasks.evaluate import Progress
from infoprune.training.finetune import finetune, load_for_finetuning

LONGEST = 128
"""Tokens of a training text unless asked otherwise."""


def finetune_folder(
    folder: StrPath,
    out: StrPath,
    data: StrPath,
    *,
    eval_data: StrPath | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    epochs: float = 2,
    learning_rate: float = 1e-4,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Trains a classifier on labelled texts and writes it as a new folder; a pruned model stays as small as it is.

    Args:
        folder: with a base model, a classifier or a pruned classifier, and its tokenizer.
        out: new folder.
        data: file of texts and labels.
        eval_data: file of texts and labels to score the trained model on.
        columns: of both files.
        packing: batch size and length; at most 128 tokens unless given.
        epochs: passes over the data.
        learning_rate: the highest, after warm-up.
        seed: of a new head, of order and of dropout.
        device: "auto", "cpu", "cuda", "mps".
        force: replace `out` if it is there.
        progress: called with (steps done, steps in all).

    Returns:
        `seconds`, `train_loss` in nats, and the metrics on `eval_data`.

    Raises:
        InputError: something about folder, data or options is wrong; the message says what to do.

    Example:
        >>> finetune_folder("minilm", "my-classifier", "train.csv", eval_data="valid.csv")["accuracy"]
        0.84
    """
    columns, packing = columns or Columns(), packing or Packing()
    check_positive("epochs", epochs)
    check_positive("learning-rate", learning_rate)
    place = device_named(device)
    read_config(folder)
    check_apart(out, folder, data, eval_data, force=force)
    train = columns.read(data, need_labels=True)
    valid = None if eval_data is None else columns.read(eval_data, need_labels=True)
    tokenizer = open_tokenizer(folder)
    model = _classifier(Path(folder), train.labels or (), seed)
    model.to(place)  # type: ignore[arg-type]
    length = packing.length(model, tokenizer)
    metrics = finetune(
        model,
        tokenizer,
        train,
        eval_data=valid,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=packing.size(),
        max_length=length if packing.max_length is not None else min(length, LONGEST),
        seed=seed,
        progress=progress,
    )
    save(model, out, tokenizer, force=force)
    return metrics


def _classifier(folder: Path, labels: Sequence[str], seed: int) -> PreTrainedModel:
    # A head that knows these labels keeps its numbering of them; any other is replaced by a new one.
    if (folder / PLAN).is_file() or _knows(folder, labels):
        return load(folder)
    return load_for_finetuning(folder, labels, seed=seed)


def _knows(folder: Path, labels: Sequence[str]) -> bool:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if not any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        return False
    try:
        return config.num_labels == 1 or bool(label_ids(labels, config))
    except InputError:
        return False
