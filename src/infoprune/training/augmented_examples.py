"""Augmented examples: training batches with token replacement, repeated with new replacements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from infoprune.statistics.token_replacement import TokenReplacement

Example = dict[str, Any]
"""One example for the Trainer: a batch and its number, under which the teacher's outputs are cached."""


class ReplacedExamples(Dataset[Example]):
    """Augmented training examples, one for every step; each augmented example serves several steps.

    Every augmented example has a number of its own; the numbers of the original examples are below `free`.

    Args:
        examples: Original examples, each with a "batch"; they are augmented in turn, with new replacements each time.
        how: Token replacement.
        steps: Number of steps.
        repeats: Steps that an augmented example serves: the steps pass over the augmented examples this many times.
        seed: Seed of the replacements.
        free: Smallest number that no example has.
    """

    def __init__(
        self, examples: Sequence[Example], how: TokenReplacement, steps: int, repeats: int, seed: int, free: int
    ) -> None:
        self._examples, self._how, self._steps, self._seed, self._free = examples, how, steps, seed, free
        self._variations = -(-steps // repeats)
        self._once = repeats == 1

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Example:
        index = step % self._variations
        batch = self._how.of(self._examples[index % len(self._examples)]["batch"], self._seed, index)
        return {"number": None if self._once else self._free + index, "batch": batch}


def replaced_examples(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    how: TokenReplacement | None,
    steps: int,
    repeats: int,
    seed: int,
) -> tuple[Sequence[Example] | ReplacedExamples, Sequence[Example]]:
    """Return augmented training examples, and held-out examples that are augmented once.

    Args:
        examples: Training examples, numbered.
        held_out: Held-out examples, numbered too.
        how: Token replacement; None leaves the examples as they are.
        steps: Number of training steps.
        repeats: Steps that an augmented example serves.
        seed: Seed of the replacements.
    """
    if how is None:
        return examples, held_out
    free = 1 + max(example["number"] for example in (*examples, *held_out))
    augmented = [{"number": free + i, "batch": how.of(one["batch"], seed)} for i, one in enumerate(held_out)]
    return ReplacedExamples(examples, how, steps, repeats, seed, free + len(augmented)), augmented
