"""Sparsify: distill a dense model while a method removes weights or units step by step."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.gradual_pruning.cubic import Cubic
from infoprune.gradual_pruning.entries import Entries
from infoprune.gradual_pruning.table import TrainedMethod, trained_method
from infoprune.gradual_pruning.units import Units
from infoprune.gradual_pruning.weights import share_left
from infoprune.plan import Plan, check_same_tokens
from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import Batch, Progress, check_batches
from infoprune.structure.modes import copy_modes, evaluation_mode, in_ordinary_mode, learning
from infoprune.surgery import apply_plan
from infoprune.training.augmented_examples import replaced_examples
from infoprune.training.distill import (
    Distillation,
    check_classes,
    freezes_embeddings,
    mean_divergence,
    replacement_for,
)
from infoprune.training.distillation_loss import DistillationLoss
from infoprune.training.hold_out import hold_out
from infoprune.training.trainer import Group, TrainingSettings, embeddings_of, freeze, train, whole_batch

RATE = 5e-4
"""Learning rate of the weights; docs/research/paper.md compares others."""


@dataclass(frozen=True)
class Sparsified:
    """Result of `sparsify`.

    Args:
        model: The trained copy: with zeros, or smaller and with its plan.
        share: Share of the layers' linear weights that are left and not zero.
        kl: Mean KL(teacher || model) on the held-out inputs, nats per input; None where none were held out.
        steps: Number of training steps.
        seconds: Duration of the call.
    """

    model: PreTrainedModel
    share: float
    kl: float | None
    steps: int
    seconds: float


@runtime_checkable
class Chooser(Protocol):
    """Choice of what stays of a model in training."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """Parameter groups to train besides the weights."""
        ...

    def narrow(self, share: float, settled: bool) -> None:
        """Keep a share of the weights, for good where it is settled."""
        ...

    def penalty(self) -> Tensor | float:
        """Return the term to add to the loss."""
        ...

    def finish(self) -> Plan | None:
        """Write the choice into the weights; return a plan where units were chosen."""
        ...


@in_ordinary_mode
def sparsify(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    method: str | TrainedMethod = "movement",
    keep: float = 0.25,
    how: Distillation | None = None,
    start: float = 0.1,
    end: float = 0.7,
    seed: int = 0,
    progress: Progress | None = None,
) -> Sparsified:
    """Train a copy of a model with the loss of `distill` while a method removes weights or units.

    All methods, and `distill` after a cut, have the same loss, settings and steps; the methods differ in what they
    choose and by which score. Held-out inputs are not trained on and do not stop the training.

    Args:
        model: The dense model; it is not changed.
        teacher: The model whose answers are the target, usually the model itself.
        batches: Tokenised inputs; each batch is one step. Labels are used where `how` gives them a weight.
        method: A name in `TRAINED`, or another `TrainedMethod`.
        keep: Share of the weights in the layers' linear maps that stays; units are kept while they fit into it.
        how: Epochs, losses and learning rate of the weights (5e-4 by default); patience is ignored.
        start: Share of the steps before the first removal.
        end: Share of the steps after the last removal.
        seed: Seed of the order, of the held-out inputs and of the sampled gates.
        progress: Called with (steps done, steps in all).

    Returns:
        The trained copy, its share of weights, its KL divergence, and the steps and seconds of the training.

    Raises:
        InputError: There are no inputs, the method is not known, a number is out of range, or the models have different
            classes or tokens.

    Examples:
        >>> sparse = sparsify(model, model, batches, method="movement", keep=0.1)
        >>> sparse.share
        0.1
        >>> small = sparsify(model, model, batches, method="structured-magnitude", keep=0.1)
        >>> save(small.model, "smaller")
    """
    begun = time.perf_counter()
    how = how or Distillation()
    chosen = trained_method(method) if isinstance(method, str) else method
    batches = accept(model, batches)
    check_batches(batches)
    check_classes(model, teacher)
    check_same_tokens(model, teacher)
    examples, held_out = hold_out(batches, how.held_out, seed)
    steps = max(1, round(len(examples) * how.epochs))
    cubic = Cubic(steps, keep, start, end)
    student = copy.deepcopy(model)
    with evaluation_mode(teacher):
        distillation_loss = DistillationLoss(student, teacher, batches, how.temperature, how.hidden, how.labels)
        training, held_out = replaced_examples(
            examples, held_out, replacement_for(distillation_loss, batches, how), steps, how.repeats, seed
        )
        chooser: Chooser = Entries(student, chosen) if chosen.choice == "entries" else Units(student, chosen, seed)
        chooser.narrow(cubic.share(0), cubic.settled(0))

        def advance(done: int, of: int) -> None:
            if done < of:
                chooser.narrow(cubic.share(done), cubic.settled(done))
            if progress is not None:
                progress(done, of)

        with learning(student), freeze(embeddings_of(student) if freezes_embeddings(how, student, teacher) else None):
            settings = TrainingSettings(steps, how.learning_rate or RATE, 1, seed, how.bf16)
            train(
                _Narrowing(distillation_loss, chooser),
                training,
                whole_batch,
                settings,
                groups=chooser.groups,
                progress=advance,
            )
        plan = chooser.finish()
        kl = mean_divergence(distillation_loss, held_out)
    copy_modes(model, student)
    small = student if plan is None else apply_plan(student, plan)
    return Sparsified(small, share_left(small, model), kl, steps, time.perf_counter() - begun)


class _Narrowing(nn.Module):
    """Distillation loss with the penalty of a chooser."""

    _keys_to_ignore_on_save = None  # as in DistillationLoss

    def __init__(self, distillation_loss: DistillationLoss, chooser: Chooser) -> None:
        super().__init__()
        self.distillation_loss = distillation_loss
        self._chooser = chooser

    def forward(self, number: int | None, batch: Batch, return_loss: bool = True) -> dict[str, Tensor]:
        return {"loss": self.distillation_loss(number, batch)["loss"] + self._chooser.penalty()}
