"""Fine-tune: plain fine-tuning of a classifier with Hugging Face's Trainer."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.batches import check_room, label_ids, label_numbers, label_rows, make_batches, packed, sampled
from infoprune.data.texts import TextData
from infoprune.data.tokenizing import unchanged
from infoprune.errors import InputError
from infoprune.statistics.accept import accept
from infoprune.statistics.padding import use_padding_of
from infoprune.structure.modes import in_ordinary_mode, learning
from infoprune.structure.plain import on_plain_model
from infoprune.structure.positions import position_limit
from infoprune.tasks.evaluate import Progress, evaluate
from infoprune.tasks.table import task_of
from infoprune.tasks.targets import tagged, with_tags
from infoprune.training.heads import with_head
from infoprune.training.trainer import TrainingSettings, embeddings_of, freeze, train, whole_batch

EVAL_BATCH = 32


def load_for_finetuning(folder: str | Path, labels: Sequence[str], *, seed: int = 0) -> PreTrainedModel:
    """Load a model with a new or existing classification head for the given labels; the sizes of a pruned one stay.

    Args:
        folder: Folder of a saved model.
        labels: Label values, repeated as in the data; the classes are the distinct ones in sorted order (by number
            where all are integers).
        seed: Seed of the weights of a new head.

    Raises:
        InputError: There is no model at ``folder``, or there are fewer than two labels.

    Examples:
        >>> load_for_finetuning("minilm", ["negative", "positive"]).config.id2label
        {0: 'negative', 1: 'positive'}
    """
    return with_head(folder, labels, seed=seed).model


@in_ordinary_mode
@on_plain_model
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
        model: A classifier of texts or of tokens, as from ``load_for_finetuning``; changed in place, left in evaluation
            mode.
        tokenizer: Its tokenizer.
        data: Texts with labels; for a classifier of tokens with one tag for each word, both separated by spaces.
        eval_data: Texts with labels to score the trained model on.
        epochs: Passes over ``data``.
        learning_rate: Highest learning rate, after warm-up.
        batch_size: Inputs per step; those of a step have a similar length.
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
    use_padding_of(tokenizer, model)
    max_length = min(max_length, position_limit(model) or max_length)
    check_room(tokenizer, max_length, pairs=data.pairs is not None)
    batches = accept(model, _mixed_batches(model, tokenizer, data, batch_size, max_length, seed), tokenizer)
    eval_batches = None
    if eval_data is not None:
        eval_batches = accept(model, _eval_batches(model, tokenizer, eval_data, max_length), tokenizer)
    steps = math.ceil(len(batches) * epochs)
    with learning(model), freeze(embeddings_of(model) if freeze_embeddings else None):
        trained = train(
            model, batches, whole_batch, TrainingSettings(steps, learning_rate, 1, seed, bf16), progress=progress
        )
    model.eval()
    metrics = {} if eval_batches is None else evaluate(model, eval_batches).metrics
    return {"seconds": time.perf_counter() - start, "train_loss": trained.loss, **metrics}


def _mixed_batches(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    batch_size: int,
    max_length: int,
    seed: int,
) -> list[dict[str, Tensor]]:
    """Return batches of inputs of similar length, with their labels; inputs of one length come in random order.

    In the order of the data, which may be sorted by label, a batch could have one class only.
    """
    labels = _labels(data)
    if task_of(model) == "token-classification":
        columns, targets = tagged(data, tokenizer, model.config, max_length), None
    else:
        pairs = None if data.pairs is None else list(data.pairs)
        with unchanged(tokenizer):
            columns = tokenizer(list(data.texts), pairs, truncation=True, max_length=max_length)
        targets = torch.tensor(_targets(model, labels))
    order = sampled(len(data), len(data), seed)
    mixed = {name: [column[row] for row in order] for name, column in columns.items()}
    return packed(mixed, tokenizer, batch_size, None if targets is None else targets[order])


def _eval_batches(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: TextData, max_length: int
) -> list[dict[str, Tensor]]:
    labels = _labels(data)
    if task_of(model) == "token-classification":
        return with_tags(data, tokenizer, model.config, batch_size=EVAL_BATCH, max_length=max_length)
    return make_batches(data, tokenizer, max_length=max_length, labels=_targets(model, labels))


def _labels(data: TextData) -> Sequence[str]:
    if data.labels is None:
        raise InputError(f"{data.source}: no labels, expected one for each text; name their column with `label`")
    return data.labels


def _targets(model: PreTrainedModel, labels: Sequence[str]) -> list[int] | list[float] | list[list[float]]:
    if model.config.num_labels == 1:
        return label_numbers(labels)
    if model.config.problem_type == "multi_label_classification":
        return label_rows(labels, int(model.config.num_labels or 0))
    return label_ids(labels, model.config)
