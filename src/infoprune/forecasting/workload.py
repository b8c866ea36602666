"""Workload: the texts of a prune, and how they are processed."""

from __future__ import annotations

from dataclasses import dataclass

from infoprune.budgets.budget import Keep
from infoprune.errors import InputError


@dataclass(frozen=True)
class Workload:
    """Number and length of the calibration texts, and how `prune` processes them.

    Args:
        samples: Number of texts.
        max_length: Tokens of each text.
        batch_size: Texts per batch.
        keep: Share of the units that stays.
        memory: Bytes that the process may take beside Python and its libraries; None for no limit.

    Raises:
        InputError: A number is out of range.

    Examples:
        >>> Workload(samples=1024, max_length=64).tokens
        2048
    """

    samples: int = 1024
    max_length: int = 128
    batch_size: int = 32
    keep: float = 0.5
    memory: int | None = None

    def __post_init__(self) -> None:
        numbers = {"samples": self.samples, "max_length": self.max_length, "batch_size": self.batch_size}
        for option, number in numbers.items():
            if number < 1:
                raise InputError(f"`{option}` is {number}, expected a number above 0; pass a larger one")
        Keep(self.keep)

    @property
    def tokens(self) -> int:
        """Number of tokens in a batch."""
        return min(self.samples, self.batch_size) * self.max_length
