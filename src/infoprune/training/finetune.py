"""Fine-tune: plain fine-tuning of a classifier with Hugging Face's Trainer."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from infoprune.data.batches import label_ids, label_numbers, make_batches
from infoprune.data.texts import TextData
from infoprune.data.tokenizing import unchanged
from infoprune.errors import InputError
from infoprune.tasks.evaluate import Progress, evaluate
from infoprune.training.trainer import TrainingSettings, embeddings_of, freeze, quiet_transformers, train


def load_for_finetuning(folder: str | Path, labels: Sequence[str], *, seed: int = 0) -> PreTrainedModel:
    """Load a model with a new or existing classification head for the given labels.

    Args:
        folder: Folder of a saved model, or a name that transformers can resolve.
        labels: Label values, repeated as in the data; the classes are the distinct ones in sorted order (by number
            where all are integers).
        seed: Seed of the weights of a new head.

    Raises:
        InputError: There is no model at ``folder``, or there are fewer than two labels.

    Examples:
        >>> load_for_finetuning("minilm", ["negative", "positive"]).config.id2label
        {0: 'negative', 1: 'positive'}
    """
    names = _sorted_names(labels)
    if len(names) < 2:
        raise InputError(f"the labels hold {len(names)} distinct value(s) {names}, expected two or more classes")
    # A missing head and a head of another size are expected here, so their warnings would only distract.
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        try:
            model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                num_labels=len(names),
                id2label=dict(enumerate(names)),
                label2id={name: number for number, name in enumerate(names)},
                ignore_mismatched_sizes=True,
            )
        except (SafetensorError, OSError, ValueError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{folder}: no model with a classification head could be loaded ({reason:.200}), expected a folder "
                "with config.json and weights; check the path"
            ) from error
    return model


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    *,
    eval_data: TextData | None = None,
    epochs: float = 2,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    max_length: int = 128,
    freeze_embeddings: bool = True,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train a classifier in place with AdamW: weight decay 0.01, 10 % warm-up, linear decay, gradients clipped at 1.

    Args:
        model: A sequence classifier, as from ``load_for_finetuning``; changed in place, left in evaluation mode.
        tokenizer: Its tokenizer.
        data: Texts with labels.
        eval_data: Texts with labels to score the trained model on.
        epochs: Passes over ``data``.
        learning_rate: Highest learning rate, after warm-up.
        batch_size: Inputs per step.
        max_length: Tokens at which an input is truncated.
        freeze_embeddings: Whether to freeze the embeddings: on small data this costs no accuracy and saves time.
        seed: Seed of order and dropout.
        bf16: Whether to compute products in bfloat16; by default where the processor is faster with it.
        progress: Called with (steps done, steps in total).

    Returns:
        ``seconds``, ``train_loss`` (nats per input, the mean over training), and the metrics on ``eval_data``.

    Raises:
        InputError: Labels are missing or unknown to the model.

    Examples:
        >>> metrics = finetune(model, tokenizer, texts, eval_data=texts, epochs=1)
        >>> 0 <= metrics["accuracy"] <= 1
        True
    """
    start = time.perf_counter()
    targets = _targets(model, data)
    batches = None
    if eval_data is not None:
        batches = make_batches(eval_data, tokenizer, max_length=max_length, labels=_targets(model, eval_data))
    with unchanged(tokenizer):
        encoded = tokenizer(
            list(data.texts), None if data.pairs is None else list(data.pairs), truncation=True, max_length=max_length
        )
    steps = math.ceil(-(-len(data) // batch_size) * epochs)
    with freeze(embeddings_of(model) if freeze_embeddings else None):
        trained = train(
            model,
            Dataset.from_dict({**encoded, "labels": targets}),
            DataCollatorWithPadding(tokenizer),
            TrainingSettings(steps, learning_rate, batch_size, seed, bf16),
            progress=progress,
        )
    model.eval()
    metrics = {} if batches is None else evaluate(model, batches).metrics
    return {"seconds": time.perf_counter() - start, "train_loss": trained.loss, **metrics}


def _sorted_names(labels: Sequence[str]) -> list[str]:
    names = set(labels)
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def _targets(model: PreTrainedModel, data: TextData) -> list[int] | list[float]:
    if data.labels is None:
        raise InputError(f"{data.source}: no labels, expected one for each text; name their column with `label`")
    return label_numbers(data.labels) if model.config.num_labels == 1 else label_ids(data.labels, model.config)
