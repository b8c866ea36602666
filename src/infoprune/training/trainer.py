"""Trainer: all training runs through this wrapper of Hugging Face's Trainer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.utils import data
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from infoprune.measuring.measure import takes_waves
from infoprune.tasks.evaluate import Progress

STATE = "trainer_state.json"
"""File that the Trainer writes last into a checkpoint: one without it is incomplete."""


@dataclass(frozen=True)
class TrainingSettings:
    """Length and learning rate of a training.

    Args:
        steps: Number of steps.
        learning_rate: Highest learning rate: reached after 10 % of the steps, then falling linearly to zero.
        batch_size: Examples per step.
        seed: Seed of order and dropout.
        bf16: Whether to compute products in bfloat16; None means where the processor is faster with it.
    """

    steps: int
    learning_rate: float
    batch_size: int
    seed: int = 0
    bf16: bool | None = None


@dataclass(frozen=True)
class HeldOut:
    """Examples that are not trained on, and how often the model is evaluated on them.

    Args:
        examples: Held-out examples; the loss of the model in evaluation mode is measured on them.
        looks: Number of evaluations, evenly over the training and at its end; the best checkpoint is kept.
        patience: Steps without improvement after which training stops; steps of the warm-up do not count.
    """

    examples: Sequence[Any]
    looks: int
    patience: int


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters with a learning rate of their own, without weight decay.

    Args:
        parameters: Parameters of the module that is trained.
        learning_rate: Highest learning rate; it follows the schedule of the others.
        uphill: Whether they maximise the loss, as the multipliers of a Lagrangian do.
    """

    parameters: tuple[nn.Parameter, ...]
    learning_rate: float
    uphill: bool = False


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Args:
        loss: Mean over the steps.
        steps: Steps taken; fewer than requested where training stopped early.
        held_out: Lowest loss on the held-out examples, or None without them.
    """

    loss: float
    steps: int
    held_out: float | None


def train(
    model: nn.Module,
    examples: Sequence[Any] | Dataset | data.Dataset[Any],
    collate: Callable[[list[Any]], dict[str, Any]],
    settings: TrainingSettings,
    *,
    groups: Sequence[Group] = (),
    held_out: HeldOut | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a module in place with AdamW: weight decay 0.01, gradients clipped at 1.

    Args:
        model: Module whose forward pass takes the result of `collate` and returns a mapping with "loss".
        examples: Training examples, with a length and an index.
        collate: Function that makes the arguments of the forward pass from a list of examples.
        settings: Length and learning rate.
        groups: Parameters with other learning rates.
        held_out: Examples that decide which checkpoint is kept; None keeps the last state.
        folder: Folder for checkpoints, written at every evaluation on the held-out examples; a training resumes from
            the latest one there. None keeps nothing.
        progress: Called with (steps done, steps in total).
    """
    device = next(model.parameters()).device
    looks = 1 if held_out is None else min(held_out.looks, settings.steps)
    every = -(-settings.steps // looks)
    warm_up = settings.steps // 10
    with _checkpoint_folder(folder) as checkpoints, quiet_transformers(), _own_forward(model), torch.random.fork_rng():
        arguments = TrainingArguments(
            output_dir=str(checkpoints),
            max_steps=settings.steps,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.batch_size,
            lr_scheduler_type="linear",
            warmup_steps=warm_up,
            weight_decay=0.01,
            max_grad_norm=1.0,
            seed=settings.seed,
            bf16=_bf16_is_faster(device) if settings.bf16 is None else settings.bf16,
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type == "cuda",
            eval_strategy="no" if held_out is None else "steps",
            save_strategy="no" if held_out is None else "steps",
            eval_steps=every,
            save_steps=every,
            prediction_loss_only=True,
            save_total_limit=1,
            load_best_model_at_end=held_out is not None,
            metric_for_best_model=None if held_out is None else "loss",
            greater_is_better=None if held_out is None else False,
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=examples,
            eval_dataset=None if held_out is None else held_out.examples,
            data_collator=collate,
            callbacks=[] if progress is None else [_ProgressCallback(progress)],
        )
        trainer.remove_callback(PrinterCallback)
        if groups:
            _set_apart(trainer, groups)
        if held_out is not None:
            trainer.add_callback(_LastLook())
            trainer.add_callback(_Patience(held_out.patience, warm_up))
        result = trainer.train(resume_from_checkpoint=_latest(checkpoints))
        best = trainer.state.best_metric
    return Trained(float(result.training_loss), trainer.state.global_step, None if best is None else float(best))


def whole_batch(examples: list[Any]) -> dict[str, Any]:
    """Return the only example of a step, where every example is a batch already."""
    (batch,) = examples
    return dict(batch)


def embeddings_of(model: PreTrainedModel) -> nn.Module | None:
    """Return the module of the embedding tables of a model; None where it reads sound, which has none."""
    if takes_waves(model.config):
        return None
    # Encoders keep word, position and type tables in one module of that name; decoders have the word table alone.
    return dict(model.base_model.named_children()).get("embeddings") or model.get_input_embeddings()


@contextmanager
def freeze(module: nn.Module | None) -> Iterator[None]:
    """Exclude the parameters of a module, if there is one, from training within the block."""
    parameters = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _set_apart(trainer: Trainer, groups: Sequence[Group]) -> None:
    """Create the Trainer's optimizer with separate parameter groups; the Trainer then uses it."""
    optimizer = trainer.create_optimizer()
    apart = {id(parameter) for group in groups for parameter in group.parameters}
    for given in optimizer.param_groups:
        given["params"] = [parameter for parameter in given["params"] if id(parameter) not in apart]
    for group in groups:
        own = {"params": list(group.parameters), "lr": group.learning_rate, "maximize": group.uphill}
        optimizer.add_param_group({**own, "weight_decay": 0.0})


class _ProgressCallback(TrainerCallback):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._progress(state.global_step, state.max_steps)


class _LastLook(TrainerCallback):
    """Evaluation at the last step: the Trainer always saves there, but evaluates only where the steps divide evenly."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        control.should_evaluate |= state.global_step >= state.max_steps


class _Patience(TrainerCallback):
    """Early stopping of a training without improvement.

    The early stopping of transformers counts evaluations, those of the warm-up too: while the learning rate rises, and
    just after, a repaired model gets worse before it improves.
    """

    def __init__(self, steps: int, warm_up: int) -> None:
        self._steps, self._warm_up = steps, warm_up

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        # Every evaluation is saved, with the best step so far; a resumed training restores this state.
        since = state.global_step - max(self._warm_up, state.best_global_step or 0)
        control.should_training_stop |= since >= self._steps


@contextmanager
def _checkpoint_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def _latest(folder: Path) -> str | None:
    """Return the newest complete checkpoint in a folder, and remove incomplete ones of a killed training."""
    found = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    while found and not (found[-1] / STATE).is_file():
        shutil.rmtree(found.pop())
    return str(found[-1]) if found else None


def _bf16_is_faster(device: torch.device) -> bool:
    if device.type == "cpu":
        # PyTorch has no public check for these; without the instructions it emulates bfloat16, which is slower.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


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
def quiet_transformers() -> Iterator[None]:
    """Silence transformers within the block, except for errors."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
