"""Distill: train a small model to match the dense one's outputs, on texts without labels."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import check_same_tokens
from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import Batch, Progress, check_batches, real_tokens
from infoprune.statistics.token_replacement import TokenReplacement, frequency_replacement
from infoprune.structure.modes import copy_modes, evaluation_mode, in_ordinary_mode, learning
from infoprune.structure.outputs import plain_outputs
from infoprune.structure.plain import on_plain_model
from infoprune.tasks.table import check_distillable, task_of
from infoprune.training.augmented_examples import Example, replaced_examples
from infoprune.training.distillation_loss import DistillationLoss, sample
from infoprune.training.hold_out import hold_out
from infoprune.training.resume import hand_over, name_of, take_over
from infoprune.training.trainer import HeldOut, TrainingSettings, embeddings_of, freeze, train, whole_batch

FULL_RATE = 2e-3
LEAST_RATE, HIGHEST_RATE = 2.5e-5, 1.5e-3
"""From few trials on the validation texts of movie reviews: at a quarter of the FLOPs 1e-4 was far better than 5e-4,
which undoes the repair; at a twentieth 1e-3 was good and 2e-3 too high."""

EMBEDDING_RATE = 7e-3
"""From few trials on the validation texts of movie reviews: at a missed share of 0.1, 5e-4 and 1e-3 were alike and
better than 2.5e-4 and 2e-3; at 0.036, 2e-4 was better than 1e-4 and 7e-4."""

TOKEN_REPLACEMENT = 0.3
"""From few trials on the validation texts of movie reviews, one seed; not tuned."""

LOOKS = 4
"""Largest number of evaluations on the held-out inputs, each with a checkpoint, per epoch."""


@dataclass(frozen=True)
class Distillation:
    """Settings of `distill`.

    Args:
        epochs: Passes over the inputs.
        learning_rate: Highest learning rate, after warm-up. None means 2e-3 times the square of the share of the
            variance of the teacher's hidden states that the student misses before training
            (`DistillationLoss.missed`), between 2.5e-5 and 1.5e-3: a model that lost more needs larger steps, and a
            high rate would harm one that lost little. Embeddings carry more information on every input; for them it
            means 7e-3 times this share, within the same bounds.
        temperature: Temperature of both softmaxes; above 1 small probabilities have a larger share in the loss.
        hidden: Weight of the loss on hidden states relative to that on logits; 0 leaves it out.
        labels: Weight of the cross-entropy with the labels, for inputs with labels.
        token_replacement: Share of an input's tokens that are replaced by tokens sampled from all inputs, each time by
            others. It makes many inputs out of few; and on its own training texts a teacher is so certain that its
            outputs carry little information. None means 0.3 where a head gives one output for an input and labels have
            no weight, otherwise 0.
        repeats: Steps that an augmented input serves. The teacher runs on it once; with a small student the teacher is
            the costlier part of a step.
        held_out: Share of the inputs that are not trained on; the checkpoint that is best on them is kept.
        patience: Share of the training, and at least one epoch, without improvement on the held-out inputs after which
            training stops, not counting the warm-up. 1, the default, never stops early: the learning rate falls to
            zero at the end, and the last steps often improve a model that had not improved for long.
        freeze_embeddings: Whether the embeddings are frozen; None means where they have the teacher's hidden size.
        bf16: Whether to compute products in bfloat16; None means where the processor is faster with it.

    Raises:
        InputError: A number is out of range.

    Examples:
        >>> how = Distillation(epochs=1, learning_rate=1e-4)
        >>> infoprune.prune(model, batches, keep=0.5, distill=how).report.seconds["distill"] > 0
        True
    """

    epochs: float = 2.0
    learning_rate: float | None = None
    temperature: float = 2.0
    hidden: float = 1.0
    labels: float = 0.0
    token_replacement: float | None = None
    repeats: int = 3
    held_out: float = 0.05
    patience: float = 1.0
    freeze_embeddings: bool | None = None
    bf16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "temperature", "patience"):
            number = getattr(self, name)
            if number is not None and not 0 < number < float("inf"):
                raise InputError(f"`{name}` is {number}, expected a number above 0; leave it to its default")
        for name in ("hidden", "labels"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"`{name}` is {getattr(self, name)}, expected 0 or more; 0 leaves that loss out")
        if self.token_replacement is not None and not 0 <= self.token_replacement <= 1:
            raise InputError(
                f"`token_replacement` is {self.token_replacement}, expected a share from 0 to 1; 0 replaces no token"
            )
        if self.repeats < 1:
            raise InputError(f"`repeats` is {self.repeats}, expected at least 1; 3 is a good choice")
        if not 0 <= self.held_out < 1:
            raise InputError(f"`held_out` is {self.held_out}, expected 0 or more and below 1; 0.05 is a good choice")

    def part_of(self, rounds: int) -> Distillation:
        """Return the settings for one of several rounds that share the epochs equally."""
        return replace(self, epochs=self.epochs / rounds)


@dataclass(frozen=True)
class Distilled:
    """Result of `distill`.

    Args:
        model: Trained copy, with the plan of the given model.
        kl_before: Mean KL(dense || small) on the held-out inputs before training, in nats per input; None where no
            inputs were held out.
        kl: The same after training.
        steps: Training steps of this call.
        seconds: Duration of this call.
    """

    model: PreTrainedModel
    kl_before: float | None
    kl: float | None
    steps: int
    seconds: float


@in_ordinary_mode
@on_plain_model
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
    r"""Return a copy of the pruned model, trained to match the dense model's outputs and hidden states.

    With p, q the softmax of the logits of dense and small model over temperature T, and h, g their hidden states,

        loss = T^2 KL(p || q) + hidden * mean over layers of sum_t |M g_t - h_t|^2 / sum_t |h_t - mean h|^2

    where M is the identity for equal hidden sizes, otherwise a linear map that is trained too and dropped at the end.
    There is no dropout, since the dense model runs without it. Some batches are held out and augmented once like the
    others; the checkpoint with the lowest KL divergence on them is returned. If none improves on the given model, a
    copy of that is returned, with a warning.

    Args:
        small: Student, from `apply_plan` or `repair`; not changed.
        dense: Teacher, with the same classes.
        batches: Tokenised inputs, as from `make_batches`; each is one step. Labels are not needed.
        how: Epochs, losses, stopping; `Distillation()` by default.
        seed: Seed of the order of the inputs and of the held-out ones.
        folder: Folder for checkpoints. The same call with the same models, inputs and settings resumes from the latest
            one, or loads the result if the training is complete; remove the folder when you are done. None writes
            nothing.
        progress: Called with (steps done, steps in total).

    Returns:
        The trained copy and its KL divergence from the dense model before and after training.

    Raises:
        InputError: There are no inputs, or the models have different classes or tokens.

    Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, section 2; hidden states as in
    Jiao et al., TinyBERT, EMNLP 2020, equation 8.

    Examples:
        >>> small = infoprune.prune(model, batches, keep=0.5).model
        >>> distilled = distill(small, model, batches, how=Distillation(epochs=1))
        >>> distilled.kl <= distilled.kl_before
        True
    """
    start = time.perf_counter()
    how = how or Distillation()
    batches = accept(dense, batches)
    check_batches(batches)
    check_distillable(task_of(small))
    check_classes(small, dense)
    check_same_tokens(small, dense)
    examples, looks = hold_out(batches, how.held_out, seed)
    student = copy.deepcopy(small)
    checkpoints = None if folder is None else folder / name_of((how, seed), (small, dense), batches)
    with evaluation_mode(dense), plain_outputs(student):
        distillation_loss = DistillationLoss(student, dense, batches, how.temperature, how.hidden, how.labels)
        steps = max(1, round(len(examples) * how.epochs))
        replacement = replacement_for(distillation_loss, batches, how)
        training, looks = replaced_examples(examples, looks, replacement, steps, how.repeats, seed)
        kl_before = mean_divergence(distillation_loss, looks)
        taken = 0
        if checkpoints is None or not take_over(distillation_loss, checkpoints):
            rate = how.learning_rate or learning_rate(distillation_loss, examples)
            settings = TrainingSettings(steps, rate, 1, seed, how.bf16)
            patience = max(len(examples), round(steps * how.patience))
            held_out = HeldOut(looks, max(1, round(LOOKS * how.epochs)), patience) if looks else None
            with learning(student), freeze(embeddings_of(student) if freezes_embeddings(how, student, dense) else None):
                trained = train(
                    distillation_loss,
                    training,
                    whole_batch,
                    settings,
                    held_out=held_out,
                    folder=checkpoints,
                    progress=progress,
                )
            taken = trained.steps
            if checkpoints is not None:
                hand_over(distillation_loss, checkpoints)
        kl = mean_divergence(distillation_loss, looks)
    if kl is not None and kl_before is not None and kl > kl_before:
        warnings.warn(
            f"training did not bring the model nearer to the dense one: KL {kl:.3g} nats on held-out inputs, "
            f"{kl_before:.3g} before, so the model from before the training is kept; pass more texts, best those that "
            "the dense model was not trained on, or a lower `learning_rate`",
            stacklevel=2,
        )
        student, kl = copy.deepcopy(small), kl_before
    copy_modes(small, student)
    return Distilled(student, kl_before, kl, taken, time.perf_counter() - start)


def replacement_for(
    distillation_loss: DistillationLoss, batches: Sequence[Batch], how: Distillation
) -> TokenReplacement | None:
    """Return the token replacement of a training, or None for unchanged inputs.

    The default is none with labels, with an output at every token (which would belong to the replaced tokens), and for
    embeddings, which carry enough information on the original inputs.
    """
    share = how.token_replacement
    if share is None:
        share = TOKEN_REPLACEMENT if how.labels == 0 and distillation_loss.decides(0, batches[0]) else 0.0
    return frequency_replacement(batches, share)


def freezes_embeddings(how: Distillation, student: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    """Return whether the embeddings are frozen: by default unless pruned, as most tokens are rare in few texts."""
    if how.freeze_embeddings is not None:
        return how.freeze_embeddings
    tables = [module for model in (student, teacher) if (module := embeddings_of(model)) is not None]
    if len(tables) < 2:
        return False
    ours, theirs = (module.parameters() for module in tables)
    return all(own.shape[-1] == other.shape[-1] for own, other in zip(ours, theirs, strict=True))


def learning_rate(distillation_loss: DistillationLoss, examples: Sequence[Example]) -> float:
    """Return the learning rate for a student's missed share of hidden states (docs/concepts/method.md, section 10)."""
    missed = fmean(distillation_loss.missed(**example) for example in sample(examples))
    rate = EMBEDDING_RATE * missed if distillation_loss.embeds else FULL_RATE * missed**2
    return min(HIGHEST_RATE, max(LEAST_RATE, rate))


def check_classes(small: PreTrainedModel, dense: PreTrainedModel) -> None:
    """Raise InputError unless both models have the same class and the same number of outputs."""
    ours, theirs = small.config.num_labels, dense.config.num_labels
    if type(small) is not type(dense) or ours != theirs:
        raise InputError(
            f"the teacher is a {type(dense).__name__} of {theirs} outputs, the student a {type(small).__name__} of "
            f"{ours}, expected the same; pass the model that the student was pruned from"
        )


def mean_divergence(distillation_loss: DistillationLoss, examples: Sequence[Example]) -> float | None:
    """Return the mean KL over the inputs of some examples, in nats per input; None without examples."""
    if not examples:
        return None
    distillation_loss.eval()
    total, inputs = 0.0, 0
    with torch.no_grad():
        for example in examples:
            n = len(real_tokens(example["batch"]))
            total, inputs = total + float(distillation_loss(**example)["loss"]) * n, inputs + n
    return total / inputs
