"""Plain fine-tuning of a classifier, through Hugging Face's Trainer."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from datasets import Dataset
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import logging

from infoprune.batches import label_ids, label_numbers, make_batches
from infoprune.data import TextData
from infoprune.errors import InputError
from infoprune.evaluate import Progress, evaluate


def load_for_finetuning(folder: str | Path, labels: Sequence[str], *, seed: int = 0) -> PreTrainedModel:
    """Load a model with a new or existing classification head for the given labels.

    Args:
        folder: A saved model, or a name that transformers can look up.
        labels: Label values, repeated as in the data; the classes are the distinct ones in sorted order (by number
            where all are integers).
        seed: Decides the weights of a new head.

    Raises:
        InputError: There is no model at ``folder``, or fewer than two labels.

    Example:
        >>> load_for_finetuning("minilm", ["negative", "positive"]).config.id2label
        {0: 'negative', 1: 'positive'}
    """
    names = _sorted_names(labels)
    if len(names) < 2:
        raise InputError(f"the labels hold {len(names)} distinct value(s) {names}, expected two or more classes")
    # A missing head and a head of another size are expected here, so the warnings about them would be noise.
    with torch.random.fork_rng(), _quiet_transformers():
        torch.manual_seed(seed)
        try:
            model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=len(names),
                id2label=dict(enumerate(names)),
                label2id={name: number for number, name in enumerate(names)},
                ignore_mismatched_sizes=True,
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{folder}: no model with a classification head could be loaded ({reason:.200}), expected a folder "
                f"with config.json and weights; check the path"
            ) from error
    return model


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: TextData,
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
    """Train a classifier in place with AdamW: weight decay 0.01, 10 % warm-up, linear fall, gradients clipped at 1.

    Args:
        model: A sequence classifier, as from ``load_for_finetuning``; changed in place, left in evaluation mode.
        tokenizer: Its tokenizer.
        train: Texts with labels.
        eval_data: Texts with labels to score the trained model on.
        epochs: Passes over ``train``.
        learning_rate: The highest, after warm-up.
        batch_size: Inputs a step.
        max_length: Tokens after which an input is cut.
        freeze_embeddings: Leave the embeddings as they are: on small data this costs nothing and saves time.
        seed: Decides order and dropout.
        bf16: Compute products in bfloat16; by default where the processor is faster with it.
        progress: Called after each step.

    Returns:
        ``seconds``, ``train_loss`` (nats an input, the mean over training), and the metrics on ``eval_data``.

    Raises:
        InputError: Labels are missing or unknown to the model.

    Example:
        >>> finetune(model, tokenizer, train, eval_data=valid)["accuracy"]
        0.84
    """
    start = time.perf_counter()
    targets = _targets(model, train)
    batches = None
    if eval_data is not None:
        batches = make_batches(eval_data, tokenizer, max_length=max_length, labels=_targets(model, eval_data))
    encoded = tokenizer(
        list(train.texts), None if train.pairs is None else list(train.pairs), truncation=True, max_length=max_length
    )
    dataset = Dataset.from_dict({**encoded, "labels": targets})
    steps = -(-len(train) // batch_size) * epochs
    # Nothing of the Trainer's folder is kept: saving the result whole is the caller's business.
    with tempfile.TemporaryDirectory() as folder, _frozen(_embeddings(model) if freeze_embeddings else None):
        device = next(model.parameters()).device
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch_size,
            lr_scheduler_type="linear",
            warmup_steps=int(0.1 * steps),
            weight_decay=0.01,
            max_grad_norm=1.0,
            seed=seed,
            bf16=_bf16_is_faster(device) if bf16 is None else bf16,
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type == "cuda",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[] if progress is None else [_ProgressCallback(progress)],
        )
        trainer.remove_callback(PrinterCallback)
        with _quiet_transformers(), _own_forward(model), torch.random.fork_rng():
            result = trainer.train()
    model.eval()
    metrics = {} if batches is None else evaluate(model, batches).metrics
    return {"seconds": time.perf_counter() - start, "train_loss": float(result.training_loss), **metrics}


class _ProgressCallback(TrainerCallback):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._progress(state.global_step, state.max_steps)


def _sorted_names(labels: Sequence[str]) -> list[str]:
    names = set(labels)
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def _targets(model: PreTrainedModel, data: TextData) -> list[int] | list[float]:
    if data.labels is None:
        raise InputError(f"{data.source}: no labels, expected one for each text; name their column (--label)")
    return label_numbers(data.labels) if model.config.num_labels == 1 else label_ids(data.labels, model.config)


def _embeddings(model: PreTrainedModel) -> nn.Module:
    # Encoders keep word, position and type tables in one module of that name; decoders have the word table alone.
    return dict(model.base_model.named_children()).get("embeddings") or model.get_input_embeddings()


def _bf16_is_faster(device: torch.device) -> bool:
    if device.type == "cpu":
        # PyTorch has no public question for these; without the instructions it emulates bfloat16, at a loss.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def _frozen(module: nn.Module | None) -> Iterator[None]:
    parameters = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def _own_forward(model: nn.Module) -> Iterator[None]:
    # accelerate wraps forward for mixed precision and leaves it wrapped; its own unwrapping also strips the decorators
    # that belong to the model. Both are attributes of the instance, in front of the method of the class.
    names = ("forward", "_original_forward")
    own = {name: vars(model)[name] for name in names if name in vars(model)}
    try:
        yield
    finally:
        for name in names:
            vars(model).pop(name, None)
        vars(model).update(own)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
