"""Hold out: divide the batches of a distillation into those that are trained on and those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch

from infoprune.statistics.calibration import Batch
from infoprune.training.augmented_examples import Example


@dataclass(frozen=True)
class NumberedExamples(Sequence[Example]):
    """Some of the batches, each with its number; those of pictures are made when they are asked for."""

    batches: Sequence[Batch]
    numbers: Sequence[int]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> NumberedExamples: ...
    def __getitem__(self, index: int | slice) -> Example | NumberedExamples:
        """Return one example, or some of them."""
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        return {"number": self.numbers[index], "batch": dict(self.batches[self.numbers[index]])}


def hold_out(batches: Sequence[Batch], share: float, seed: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """Split batches into numbered training and held-out examples; a single batch is not split."""
    number = min(len(batches) - 1, max(1, round(share * len(batches)))) if share else 0
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = set(order[:number])
    trained, held = ([index for index in range(len(batches)) if (index in chosen) == is_held] for is_held in (0, 1))
    return NumberedExamples(batches, trained), NumberedExamples(batches, held)
