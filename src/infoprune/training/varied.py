"""Varied: the examples of a training, varied anew again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from infoprune.statistics.vary import Variation

Example = dict[str, Any]
"""What the Trainer takes for one example: a batch and its number, by which the teacher knows it again."""


class Varied(Dataset[Example]):
    """The examples of a training, one for every step, each variation in several steps.

    A number tells a variation from all others and from the examples as they were, whose numbers are below `free`.

    Args:
        examples: come in turn, varied anew each time; each has a "batch".
        how: they are varied.
        steps: in all.
        repeats: steps that a variation serves, where the steps go round.
        seed: of the variations.
        free: the first number that no example has.
    """

    def __init__(
        self, examples: Sequence[Example], how: Variation, steps: int, repeats: int, seed: int, free: int
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


def varied(
    examples: Sequence[Example],
    judging: Sequence[Example],
    how: Variation | None,
    steps: int,
    repeats: int,
    seed: int,
) -> tuple[Sequence[Example] | Varied, list[Example]]:
    """Examples to train on for so many steps, and to judge by: these are varied once and for all.

    Args:
        examples: of the training, numbered.
        judging: held out from it, numbered too.
        how: they are varied, if they are.
        steps: of the training.
        repeats: steps that a variation serves.
        seed: of the variations.
    """
    if how is None:
        return examples, list(judging)
    free = 1 + max(example["number"] for example in (*examples, *judging))
    asked = [{"number": free + i, "batch": how.of(one["batch"], seed)} for i, one in enumerate(judging)]
    return Varied(examples, how, steps, repeats, seed, free + len(asked)), asked
