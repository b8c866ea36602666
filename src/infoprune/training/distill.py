"""Distill: a small model is trained to do as the dense one does, on texts without labels."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import check_same_tokens
from infoprune.statistics.calibration import Batch, Progress, check_batches, real_tokens
from infoprune.statistics.vary import Variation, variation
from infoprune.training.lesson import Lesson, sample
from infoprune.training.resume import hand_over, name_of, take_over
from infoprune.training.trainer import HeldOut, Schedule, embeddings_of, frozen, train
from infoprune.training.varied import Example, varied

FULL_RATE = 2e-3
LEAST_RATE, HIGHEST_RATE = 2.5e-5, 1.5e-3
"""From few trials on the validation texts of movie reviews: at a quarter of the FLOPs 1e-4 was far better than 5e-4,
which undoes what the repair has done; at a twentieth 1e-3 was good, 2e-3 too much."""

EMBEDDING_RATE = 7e-3
"""From few trials on the validation texts of movie reviews: where a tenth is missed 5e-4 and 1e-3 were alike and better
than 2.5e-4 and 2e-3, where 0.036 are missed 2e-4 was better than 1e-4 and 7e-4."""

VARIED = 0.3
"""From few trials on the validation texts of movie reviews, one draw; not tuned."""

LOOKS = 4
"""How often an epoch, at most, the held-out inputs are looked at and a checkpoint is written."""


@dataclass(frozen=True)
class Distillation:
    """How `distill` goes about it.

    Args:
        epochs: passes over the inputs.
        learning_rate: the highest, after warm-up; None means 2e-3 times the square of the share of the teacher's
            hidden states that the student misses before the training (`Lesson.missed`), not below 2.5e-5 and not above
            1.5e-3: what has lost more has further to go, and what has lost little would lose more at a higher rate. For
            embeddings, which say much about every input, 7e-3 times this share, within the same bounds.
        temperature: that softens both softmaxes, so that small probabilities count.
        hidden: weight of the loss on hidden states against that on logits; 0 leaves it out.
        labels: weight of the cross-entropy with the labels, for inputs that carry any.
        varied: share of an input's tokens that are replaced, each time by others, drawn from all inputs: on the texts
            that it was trained on a teacher is so sure that it has little to say, and few texts become many. None means
            0.3 where a head gives one answer for an input and no label counts, and otherwise 0.
        repeats: steps that a variation of the inputs serves. The teacher answers it once, which of a step for a small
            student is the dearer part.
        held_out: share of the inputs that is not trained on and decides which look at the model is kept.
        patience: share of the training, and at least one epoch, that may pass after the warm-up without getting better
            on these; then it ends. 1, the default, lets it go on to its end: the learning rate falls to zero there, and
            much is won in the last steps, by a training that got no better for long.
        freeze_embeddings: leave the embeddings as they are; None means where they are as wide as the teacher's.
        bf16: compute products in bfloat16; None means where the processor is faster with it.

    Raises:
        InputError: a number is out of range.
    """

    epochs: float = 2.0
    learning_rate: float | None = None
    temperature: float = 2.0
    hidden: float = 1.0
    labels: float = 0.0
    varied: float | None = None
    repeats: int = 3
    held_out: float = 0.05
    patience: float = 1.0
    freeze_embeddings: bool | None = None
    bf16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "temperature", "patience"):
            number = getattr(self, name)
            if number is not None and not 0 < number < float("inf"):
                raise InputError(f"{name} is {number}, expected a number above 0; leave it to its default")
        for name in ("hidden", "labels"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 or more; 0 leaves that loss out")
        if self.varied is not None and not 0 <= self.varied <= 1:
            raise InputError(f"varied is {self.varied}, expected a share from 0 to 1; 0 leaves the inputs as they are")
        if self.repeats < 1:
            raise InputError(f"repeats is {self.repeats}, expected at least 1; 3 is a good choice")
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}, expected 0 or more and below 1; 0.05 is a good choice")

    def part_of(self, rounds: int) -> Distillation:
        """The same in each of several rounds that share its epochs."""
        return replace(self, epochs=self.epochs / rounds)


@dataclass(frozen=True)
class Recovery:
    """What `compress` distills on, and how.

    Args:
        batches: tokenised inputs, as from `make_batches`; labels are not needed.
        how: epochs, losses, stopping.
        folder: for checkpoints, see `distill`.
    """

    batches: Sequence[Batch]
    how: Distillation = field(default_factory=Distillation)
    folder: Path | None = None


@dataclass(frozen=True)
class Distilled:
    """What came of it.

    Args:
        model: the trained copy; it carries the plan of the model that went in.
        kl_before: mean KL(dense || small) on the held-out inputs before, nats an input; None where none were held out.
        kl: the same after.
        steps: taken by this call.
        seconds: that this call took.
    """

    model: PreTrainedModel
    kl_before: float | None
    kl: float | None
    steps: int
    seconds: float


def distill(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    how: Distillation | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Distilled:
    r"""A copy of the pruned model, trained to answer as the dense one does and to pass through the same hidden states.

    With p, q the softmax of the logits of dense and small model over temperature T, and h, g their hidden states,

        loss = T^2 KL(p || q) + hidden * mean over layers of sum_t |M g_t - h_t|^2 / sum_t |h_t - mean h|^2

    where M is the identity for equal widths; else a linear map that is trained too and dropped at the end. There is no
    dropout: the dense model answers without it. Some batches are held out, varied as the others are but once and for
    all, and the model that comes nearest to the dense one on them is returned: at worst, and with a warning, the one
    that went in.

    Args:
        small: from `prune` or `repair`; it is left as it is.
        dense: the teacher, with the same classes.
        batches: tokenised inputs, as from `make_batches`; each is one step. Labels are not needed.
        how: epochs, losses, stopping; `Distillation()` by default.
        seed: of the order and of what is held out.
        folder: for checkpoints. The same call with the same models, inputs and settings goes on from what it finds
            there, or takes over a result that is complete; remove the folder when you are done. None writes nothing.
        progress: called with (steps done, steps in all).

    Raises:
        InputError: there are no inputs, or the models have different classes or tokens.

    Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, section 2; hidden states as in
    Jiao et al., TinyBERT, EMNLP 2020, equation 8.

    Example:
        >>> distilled = distill(small, dense, make_batches(read_texts("texts.txt"), tokenizer))
        >>> distilled.kl_before, distilled.kl
        (0.091, 0.034)
    """
    start = time.perf_counter()
    how = how or Distillation()
    check_batches(batches)
    check_classes(small, dense)
    check_same_tokens(small, dense)
    examples, judging = parted(batches, how.held_out, seed)
    student = copy.deepcopy(small)
    place = None if folder is None else folder / name_of((how, seed), (small, dense), batches)
    with answering(dense):
        lesson = Lesson(student, dense, batches, how.temperature, how.hidden, how.labels)
        steps = max(1, round(len(examples) * how.epochs))
        kind = kind_of_variation(lesson, batches, how)
        training, judging = varied(examples, judging, kind, steps, how.repeats, seed)
        kl_before = mean_divergence(lesson, judging)
        taken = 0
        if place is None or not take_over(lesson, place):
            rate = how.learning_rate or learning_rate(lesson, examples)
            schedule = Schedule(steps, rate, 1, seed, how.bf16)
            patience = max(len(examples), round(steps * how.patience))
            held_out = HeldOut(judging, max(1, round(LOOKS * how.epochs)), patience) if judging else None
            with frozen(embeddings_of(student) if freezes_embeddings(how, student, dense) else None):
                trained = train(
                    lesson,
                    training,
                    one,
                    schedule,
                    held_out=held_out,
                    folder=place,
                    progress=progress,
                )
            taken = trained.steps
            if place is not None:
                hand_over(lesson, place)
        kl = mean_divergence(lesson, judging)
    if kl is not None and kl_before is not None and kl > kl_before:
        warnings.warn(
            f"training did not bring the model nearer to the dense one: KL {kl:.3g} nats on held-out inputs, "
            f"{kl_before:.3g} before, so the model from before the training is kept; pass more texts, best those that "
            "the dense model was not trained on, or a lower learning rate",
            stacklevel=2,
        )
        student, kl = copy.deepcopy(small), kl_before
    for module, given in zip(student.modules(), small.modules(), strict=True):
        module.training = given.training
    return Distilled(student, kl_before, kl, taken, time.perf_counter() - start)


def kind_of_variation(lesson: Lesson, batches: Sequence[Batch], how: Distillation) -> Variation | None:
    """How the inputs of a training are varied, if they are.

    Where nothing is asked, not if there are labels, not if there is an answer at every token, which would be about
    other tokens, and not if it is an embedding: it says enough about the inputs as they are.
    """
    share = how.varied
    if share is None:
        share = VARIED if how.labels == 0 and lesson.decides(0, batches[0]) else 0.0
    return variation(batches, share)


def freezes_embeddings(how: Distillation, student: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    """Whether the embeddings are left as they are: few texts say little about most tokens, but cut ones are trained."""
    if how.freeze_embeddings is not None:
        return how.freeze_embeddings
    ours, theirs = (embeddings_of(model).parameters() for model in (student, teacher))
    return all(own.shape[-1] == other.shape[-1] for own, other in zip(ours, theirs, strict=True))


def learning_rate(lesson: Lesson, examples: Sequence[Example]) -> float:
    """The step that suits a student: it grows with what its hidden states miss (docs/method.md, section 10)."""
    missed = fmean(lesson.missed(**example) for example in sample(examples))
    rate = EMBEDDING_RATE * missed if lesson.embeds else FULL_RATE * missed**2
    return min(HIGHEST_RATE, max(LEAST_RATE, rate))


def check_classes(small: PreTrainedModel, dense: PreTrainedModel) -> None:
    """Raises InputError unless both models give answers that can be compared."""
    ours, theirs = small.config.num_labels, dense.config.num_labels
    if type(small) is not type(dense) or ours != theirs:
        raise InputError(
            f"the teacher is a {type(dense).__name__} of {theirs} outputs, the student a {type(small).__name__} of "
            f"{ours}, expected the same; pass the model that it was cut from"
        )


def parted(batches: Sequence[Batch], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Batches to train on, and batches to judge by, each with its number; of a single batch nothing is held out."""
    number = min(len(batches) - 1, max(1, round(share * len(batches)))) if share else 0
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = set(order[:number])
    parts: tuple[list[Example], list[Example]] = ([], [])
    for index, batch in enumerate(batches):
        parts[index in chosen].append({"number": index, "batch": dict(batch)})
    return parts


def one(examples: list[Example]) -> Example:
    """What one step is given: a batch is an example already."""
    return examples[0]


def mean_divergence(lesson: Lesson, examples: Sequence[Example]) -> float | None:
    """Mean KL over the inputs of some examples, nats an input; None where there are none."""
    if not examples:
        return None
    lesson.eval()
    inputs = [len(real_tokens(example["batch"])) for example in examples]
    with torch.no_grad():
        total = sum(float(lesson(**example)["loss"]) * n for example, n in zip(examples, inputs, strict=True))
    return total / sum(inputs)


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
