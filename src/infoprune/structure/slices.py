"""Slices: which rows or columns of a weight belong to which units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Slice:
    """The output rows of a linear module that units own, in one part or, where the weight is fused, in several.

    Args:
        module: path of the module.
        widths: how many rows a unit owns in each part, top to bottom; in every part the units follow one another.

    Example:
        >>> Slice("mlp.gate_up_proj", (1, 1)).rows(torch.tensor([0, 2]), units=4)
        tensor([0, 2, 4, 6])
    """

    module: str
    widths: tuple[int, ...]

    def rows(self, kept: Int[Tensor, " k"], units: int) -> Int[Tensor, " rows"]:
        """Rows of some of the units, in the order of the units in every part."""
        starts = [units * sum(self.widths[:part]) for part in range(len(self.widths))]
        return torch.cat(
            [start + unit_coordinates(kept, width) for start, width in zip(starts, self.widths, strict=True)]
        )

    def owners(self, units: int) -> Int[Tensor, " rows"]:
        """The unit that every row belongs to."""
        return torch.cat([torch.arange(units).repeat_interleave(width) for width in self.widths])


def unit_coordinates(kept: Int[Tensor, " k"], size: int) -> Int[Tensor, " coordinates"]:
    """Coordinates that belong to units, in order: unit u owns u size .. (u + 1) size - 1."""
    return (kept[:, None] * size + torch.arange(size, device=kept.device)).reshape(-1)
