"""Fine-tune on pictures or clips: the plain training of `finetune`, with inputs that are read step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from infoprune.data.lazy import LazyBatches
from infoprune.statistics.calibration import FRAMES
from infoprune.structure.modes import in_ordinary_mode, learning
from infoprune.structure.plain import on_plain_model
from infoprune.tasks.evaluate import Progress, evaluate
from infoprune.training.trainer import TrainingSettings, train


@in_ordinary_mode
@on_plain_model
def finetune_pictures(
    model: PreTrainedModel,
    pictures: LazyBatches,
    *,
    eval_batches: Sequence[Mapping[str, Tensor]] | None = None,
    epochs: float = 2,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train a classifier of pictures or clips in place, with the settings of `finetune`; nothing is frozen.

    Args:
        model: The classifier; changed in place, left in evaluation mode.
        pictures: Labelled pictures, a batch of one for each.
        eval_batches: Labelled batches to score the trained model on.
        epochs: Passes over the pictures.
        learning_rate: Highest learning rate, after warm-up.
        batch_size: Pictures per step.
        seed: Seed of order and dropout.
        progress: Called with (steps done, steps in total).

    Returns:
        ``seconds``, ``train_loss`` (nats per picture, the mean over training), and the metrics on ``eval_batches``.
    """
    start = time.perf_counter()

    def together(parts: Sequence[Any]) -> dict[str, Tensor]:
        batch = pictures.make([number for part in parts for number in part])
        return {name: value for name, value in batch.items() if name != FRAMES}

    steps = math.ceil(-(-len(pictures) // batch_size) * epochs)
    settings = TrainingSettings(steps, learning_rate, batch_size, seed)
    with learning(model):
        trained = train(model, list(pictures.parts), together, settings, progress=progress)
    model.eval()
    metrics = {} if eval_batches is None else evaluate(model, eval_batches).metrics
    return {"seconds": time.perf_counter() - start, "train_loss": trained.loss, **metrics}
