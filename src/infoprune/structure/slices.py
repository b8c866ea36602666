"""Slices: the rows or columns of a weight that belong to each unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Slice:
    """Output rows of a linear module that units own, in one part or, where the weight is fused, in several.

    Args:
        module: Path of the module.
        rows_per_unit: Rows that a unit owns in each part, top to bottom; within a part the units follow one another.
        shared: Rows below the parts that belong to all units together.

    Examples:
        >>> Slice("mlp.gate_up_proj", (1, 1)).rows(torch.tensor([0, 2]), units=4)
        tensor([0, 2, 4, 6])
    """

    module: str
    rows_per_unit: tuple[int, ...]
    shared: int = 0

    def rows(self, kept: Int[Tensor, " k"], units: int) -> Int[Tensor, " rows"]:
        """Return the rows of some of the units, and those of all; in every part they have the order of `kept`."""
        starts = [units * sum(self.rows_per_unit[:part]) for part in range(len(self.rows_per_unit))]
        own = [start + unit_coordinates(kept, count) for start, count in zip(starts, self.rows_per_unit, strict=True)]
        below = units * sum(self.rows_per_unit)
        of_all = torch.arange(below, below + (self.shared if len(kept) else 0), device=kept.device)
        return torch.cat([*own, of_all])

    def owners(self, units: int) -> Int[Tensor, " rows"]:
        """Return the unit of every row but those of all units together, which lie below."""
        return torch.cat([torch.arange(units).repeat_interleave(count) for count in self.rows_per_unit])


def unit_coordinates(kept: Int[Tensor, " k"], size: int) -> Int[Tensor, " coordinates"]:
    """Return the coordinates of some units, in their order: unit u owns u size .. (u + 1) size - 1."""
    return (kept[:, None] * size + torch.arange(size, device=kept.device)).reshape(-1)
