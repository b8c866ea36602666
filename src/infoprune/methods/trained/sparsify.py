"""Sparsify: a dense model is trained on its teacher's answers while more and more of it goes."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.methods.trained.cubic import Cubic
from infoprune.methods.trained.entries import Entries
from infoprune.methods.trained.table import TrainedMethod, trained_method
from infoprune.methods.trained.units import Units
from infoprune.methods.trained.weights import share_left
from infoprune.plan import Plan, check_same_tokens
from infoprune.statistics.calibration import Batch, Progress, check_batches
from infoprune.surgery import prune
from infoprune.training.distill import (
    Distillation,
    answering,
    check_classes,
    freezes_embeddings,
    kind_of_variation,
    mean_divergence,
    one,
    parted,
)
from infoprune.training.lesson import Lesson
from infoprune.training.trainer import Group, Schedule, embeddings_of, frozen, train
from infoprune.training.varied import varied

RATE = 5e-4
"""Of learning, for the weights: see docs/paper.md for what was looked at."""


@dataclass(frozen=True)
class Sparsified:
    """What came of it.

    Args:
        model: the trained copy: with zeros, or smaller and carrying its plan.
        share: of the layers' linear weights that are there and not zero.
        kl: mean KL(teacher || model) on the held-out inputs, nats an input; None where none were held out.
        steps: of the training.
        seconds: that it took.
    """

    model: PreTrainedModel
    share: float
    kl: float | None
    steps: int
    seconds: float


@runtime_checkable
class Chooser(Protocol):
    """Chooses what stays of a model in training."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """What it trains, beside the weights."""
        ...

    def narrow(self, share: float, settled: bool) -> None:
        """Lets a share of the weights stay, for good where it is settled."""
        ...

    def penalty(self) -> Tensor | float:
        """What it adds to the loss."""
        ...

    def finish(self) -> Plan | None:
        """Leaves its choice in the weights; the units that stay, if it chose units."""
        ...


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
    """A copy of a model that is trained with the loss of `distill` while a method takes weights or units away.

    All methods have the same loss, schedule and steps, and differ in what they choose and by what; so do they from
    `distill` after a cut. What is held out is not trained on, and decides nothing: the training goes to its end.

    Args:
        model: dense; it is left as it is.
        teacher: what it is trained to answer like, most often the model itself.
        batches: tokenised inputs; each is one step. Labels are used where `how` gives them a weight.
        method: a name in `TRAINED`, or a row like those.
        keep: share of the weights in the layers' linear maps that stays. Units are as many as fit into it.
        how: epochs, losses, rate of the weights (5e-4 by default); patience plays no part.
        start: share of the steps before anything goes.
        end: share of the steps after which no more goes.
        seed: of the order, of what is held out and of what is drawn.
        progress: called with (steps done, steps in all).

    Raises:
        InputError: there are no inputs, the method is not known, a number is out of range, or the models have different
            classes or tokens.

    Example:
        >>> sparse = sparsify(model, model, batches, method="movement", keep=0.1)
        >>> sparse.share
        0.1
        >>> small = sparsify(model, model, batches, method="structured-magnitude", keep=0.1)
        >>> save(small.model, "smaller")
    """
    begun = time.perf_counter()
    how = how or Distillation()
    chosen = trained_method(method) if isinstance(method, str) else method
    check_batches(batches)
    check_classes(model, teacher)
    check_same_tokens(model, teacher)
    examples, judging = parted(batches, how.held_out, seed)
    steps = max(1, round(len(examples) * how.epochs))
    cubic = Cubic(steps, keep, start, end)
    student = copy.deepcopy(model)
    with answering(teacher):
        lesson = Lesson(student, teacher, batches, how.temperature, how.hidden, how.labels)
        training, judging = varied(examples, judging, kind_of_variation(lesson, batches, how), steps, how.repeats, seed)
        chooser: Chooser = Entries(student, chosen) if chosen.choice == "entries" else Units(student, chosen, seed)
        chooser.narrow(cubic.share(0), cubic.settled(0))

        def advance(done: int, of: int) -> None:
            if done < of:
                chooser.narrow(cubic.share(done), cubic.settled(done))
            if progress is not None:
                progress(done, of)

        with frozen(embeddings_of(student) if freezes_embeddings(how, student, teacher) else None):
            schedule = Schedule(steps, how.learning_rate or RATE, 1, seed, how.bf16)
            train(_Narrowing(lesson, chooser), training, one, schedule, groups=chooser.groups, progress=advance)
        plan = chooser.finish()
        kl = mean_divergence(lesson, judging)
    small = student if plan is None else prune(student, plan)
    for module, given in zip(student.modules(), model.modules(), strict=True):
        module.training = given.training
    return Sparsified(small.train(model.training), share_left(small, model), kl, steps, time.perf_counter() - begun)


class _Narrowing(nn.Module):
    """A lesson, with what a chooser adds to its loss."""

    _keys_to_ignore_on_save = None  # as the lesson's

    def __init__(self, lesson: Lesson, chooser: Chooser) -> None:
        super().__init__()
        self.lesson = lesson
        self._chooser = chooser

    def forward(self, number: int | None, batch: Batch, return_loss: bool = True) -> dict[str, Tensor]:
        return {"loss": self.lesson(number, batch)["loss"] + self._chooser.penalty()}
