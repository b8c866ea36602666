"""Random numbers for the inputs of a batch, the same however the batch is divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from zlib import crc32

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class _Law(Protocol):
    def __call__(self, *size: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor: ...


@dataclass(frozen=True)
class RandomNumbers:
    """Random numbers for some inputs of a batch; every input has a generator of its own.

    Args:
        seed: Seed of the batch.
        first: Number of the first of these inputs within the batch.
    """

    seed: int
    first: int = 0

    def uniform(self, shape: tuple[int, ...]) -> Float[Tensor, "inputs ..."]:
        """Return numbers between 0 and 1 of the given shape, whose first axis counts the inputs, in float64."""
        return self._of(torch.rand, shape)

    def normal(self, shape: tuple[int, ...]) -> Float[Tensor, "inputs ..."]:
        """Return normal numbers of the given shape, whose first axis counts the inputs, in float64."""
        return self._of(torch.randn, shape)

    def _of(self, law: _Law, shape: tuple[int, ...]) -> Tensor:
        inputs, *rest = shape
        numbers = range(self.first, self.first + inputs)
        seeds = (crc32(f"{self.seed} {number}".encode()) for number in numbers)  # seeds have 32 bits
        generators = (torch.Generator().manual_seed(seed) for seed in seeds)
        return torch.stack([law(*rest, generator=each, dtype=torch.float64) for each in generators])
