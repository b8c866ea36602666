"""Varied: the examples of a training, varied anew at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from infoprune.statistics.vary import Variation

Example = dict[str, Any]
"""What the Trainer takes for one example: a batch and its number, by which the teacher knows it again."""


class Varied(Dataset[Example]):
    """The examples of a training, one for every step, each varied anew; none has a number, as none comes twice.

    Args:
        examples: come in turn; each has a "batch".
        how: they are varied.
        steps: in all.
        seed: of the variations.
    """

    def __init__(self, examples: Sequence[Example], how: Variation, steps: int, seed: int) -> None:
        self._examples, self._how, self._steps, self._seed = examples, how, steps, seed

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Example:
        example = self._examples[step % len(self._examples)]
        return {"number": None, "batch": self._how.of(example["batch"], self._seed * (1 << 32) + step)}


def varied(
    examples: Sequence[Example], judging: Sequence[Example], how: Variation | None, steps: int, seed: int
) -> tuple[Sequence[Example] | Varied, list[Example]]:
    """Examples to train on for so many steps, and to judge by: these are varied once and for all.

    Args:
        examples: of the training.
        judging: held out from it.
        how: they are varied, if they are.
        steps: of the training.
        seed: of the variations.
    """
    if how is None:
        return examples, list(judging)
    return Varied(examples, how, steps, seed), [{**one, "batch": how.of(one["batch"], seed)} for one in judging]
