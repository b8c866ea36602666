"""Fine-tune: the job of `infoprune finetune`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from infoprune.checkpoint import check_writable, save
from infoprune.data.media import MediaData
from infoprune.errors import InputError
from infoprune.files.model_folder import read_config
from infoprune.files.modules import transformer_folder
from infoprune.jobs.inputs import (
    Columns,
    Packing,
    StrPath,
    Texts,
    check_apart,
    check_positive,
    device_named,
    stage,
)
from infoprune.jobs.media import media_batches
from infoprune.jobs.models import open_tokenizer
from infoprune.jobs.preprocessors import open_image_processor, open_processor, try_image_processor, try_processor
from infoprune.jobs.tasks import check_columns, eval_batches_of, read, targets
from infoprune.loading.opening import config_in
from infoprune.measuring.measure import takes_sound, takes_waves
from infoprune.pipeline.clock import StageProgress
from infoprune.sources.models import model_folder
from infoprune.tasks.evaluate import Progress
from infoprune.tasks.table import Task, task_named
from infoprune.training.finetune import finetune
from infoprune.training.finetune_pictures import finetune_pictures
from infoprune.training.heads import reads_pictures, with_head

LONGEST = 128
"""Default limit of the tokens of a training text."""


def finetune_folder(
    folder: StrPath,
    out: StrPath,
    data: Texts,
    *,
    eval: Texts | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    epochs: float = 2,
    learning_rate: float = 1e-4,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    started: Callable[[str], None] | None = None,
    progress: StageProgress | None = None,
) -> dict[str, float]:
    """Train a classifier on labelled inputs and write it as a new folder; a pruned model keeps its size.

    A classifier that knows all labels is trained further; any other model gets a new head for them.

    Args:
        folder: Folder with a model, pruned or not, and its tokenizer, or name of a model on the hub.
        out: New folder.
        data: Texts, pictures or clips with labels.
        eval: Texts, pictures or clips with labels on which the trained model is scored.
        columns: Columns of both.
        packing: Batch size and length; by default at most 128 tokens.
        epochs: Passes over the data.
        learning_rate: Highest learning rate, after warm-up.
        seed: Seed of a new head, of order and of dropout.
        device: "auto", "cpu", "cuda", "mps".
        force: Whether to replace `out` if it exists.
        started: Called once all input is checked, with a sentence on where the head comes from.
        progress: Called with (stage, done, of).

    Returns:
        `seconds`, `train_loss` in nats, and the metrics on `eval`.

    Raises:
        InputError: The folder, the data or an option is not valid; the message gives the remedy.

    Examples:
        >>> finetune_folder("minilm", "my-classifier", "train.csv", eval="valid.csv")["accuracy"]
        0.84
    """
    columns, packing = columns or Columns(), packing or Packing()
    check_positive("epochs", epochs)
    check_positive("learning_rate", learning_rate)
    torch_device = device_named(device)
    check_apart(out, folder, data, eval, force=force)
    folder = model_folder(folder, progress=progress)
    check_apart(out, folder, force=True)
    read_config(transformer_folder(folder))
    config = config_in(transformer_folder(folder))
    if takes_sound(config):
        raise InputError(
            f"{folder} is a model of speech, which is not trained here, expected one of texts or pictures, or an "
            "encoder of sound; train it with transformers"
        )
    if reads_pictures(config) or takes_waves(config):
        task = task_named("image-classification" if reads_pictures(config) else "audio-classification")
        how = Fit(epochs, learning_rate, seed, started, stage("train", progress))
        return _on_media(task, folder, out, data, eval, columns, packing, how, torch_device, force=force)
    train = columns.read(data, need_labels=True, progress=progress)
    valid = None
    if eval is not None:
        valid = columns.read(eval, need_labels=True, split="validation", progress=progress)
    tokenizer = open_tokenizer(transformer_folder(folder))
    headed = with_head(folder, train.labels or (), seed=seed)
    model = headed.model
    check_writable(model, tokenizer)
    if started is not None:
        started(headed.origin)
    model.to(torch_device)  # type: ignore[arg-type]
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
        progress=stage("train", progress),
    )
    save(model, out, tokenizer, force=force)
    return metrics


@dataclass(frozen=True)
class Fit:
    """Length, learning rate and seed of a training on pictures or clips, and what is told of it."""

    epochs: float
    learning_rate: float
    seed: int
    started: Callable[[str], None] | None
    progress: Progress | None


def _on_media(
    task: Task,
    folder: StrPath,
    out: StrPath,
    data: Texts,
    eval: Texts | None,
    columns: Columns,
    packing: Packing,
    fit: Fit,
    device: torch.device,
    *,
    force: bool,
) -> dict[str, float]:
    check_columns(task, columns)
    train = read(task, columns, data, scored=True, needed=True)
    valid = None if eval is None else read(task, columns, eval, scored=True, needed=True, split="validation")
    pictures = task.reads == "pictures"
    processor = open_image_processor(folder) if pictures else open_processor(folder, writes=False)
    headed = with_head(Path(folder), train.labels or (), seed=fit.seed)
    model = headed.model
    check_writable(model, processor)
    model.to(device)  # type: ignore[arg-type]
    (try_image_processor if pictures else try_processor)(folder, model, processor)
    one = Packing(batch_size=1)
    inputs = media_batches(cast(MediaData, train), task, model, processor, one, targets(model, train))
    eval_batches = None if valid is None else eval_batches_of(valid, task, model, processor, packing, fit.seed)
    if fit.started is not None:
        fit.started(headed.origin)
    metrics = finetune_pictures(
        model,
        inputs,
        eval_batches=eval_batches,
        epochs=fit.epochs,
        learning_rate=fit.learning_rate,
        batch_size=packing.size(),
        seed=fit.seed,
        progress=fit.progress,
    )
    save(model, out, processor, force=force)
    return metrics
