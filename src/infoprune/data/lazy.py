"""Lazy batches: batches that are made when they are asked for, so that the memory holds one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

from torch import Tensor


@dataclass(frozen=True)
class LazyBatches(Sequence[dict[str, Tensor]]):
    """Batches of pictures or clips, read anew at every use.

    Args:
        parts: What each batch is made of.
        make: Returns the batch of a part.

    Examples:
        >>> batches = LazyBatches([2, 3], lambda n: {"pixel_values": torch.zeros(n, 3, 8, 8)})
        >>> [len(batch["pixel_values"]) for batch in batches]
        [2, 3]
    """

    parts: Sequence[Any]
    make: Callable[[Any], dict[str, Tensor]]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.parts)

    @overload
    def __getitem__(self, index: int) -> dict[str, Tensor]: ...
    @overload
    def __getitem__(self, index: slice) -> LazyBatches: ...
    def __getitem__(self, index: int | slice) -> dict[str, Tensor] | LazyBatches:
        """Make one batch, or return some batches that are not made yet."""
        if isinstance(index, slice):
            return replace(self, parts=self.parts[index])
        return self.make(self.parts[index])

    def then(self, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> LazyBatches:
        """Return the batches with a change, or a check, that is made whenever one is."""
        make = self.make
        return replace(self, make=lambda part: change(make(part)))
