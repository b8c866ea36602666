"""Cubic: the share that stays at every step of a training."""

from __future__ import annotations

from dataclasses import dataclass

from infoprune.errors import InputError


@dataclass(frozen=True)
class Cubic:
    r"""Cubic schedule of the share that stays.

        share_t = keep + (1 - keep) (1 - (t - t_0) / (t_1 - t_0))^3    between t_0 = start T and t_1 = end T

    Before t_0 the share is 1, after t_1 it is `keep`.

    Args:
        steps: Number T of steps of the training.
        keep: Share that stays at the end.
        start: Share of the steps before the first removal.
        end: Share of the steps after the last removal.

    Raises:
        InputError: A number is out of range.

    Source:
        M. Zhu and S. Gupta, *To prune, or not to prune*, 2017, equation (1), for the share that is removed.
    """

    steps: int
    keep: float
    start: float = 0.1
    end: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise InputError(f"keep is {self.keep:g}, expected a number above 0 and at most 1; 0.25 leaves a quarter")
        if self.steps < 1 or not 0 <= self.start < self.end <= 1:
            raise InputError(
                f"a schedule of {self.steps} steps from {self.start:g} to {self.end:g} of them, expected one or more "
                "and 0 <= start < end <= 1; pass e.g. 0.1 and 0.7"
            )

    def share(self, step: int) -> float:
        """Return the share that stays at a step, counted from 0."""
        done = min(1.0, max(0.0, (step / self.steps - self.start) / (self.end - self.start)))
        return self.keep + (1 - self.keep) * (1 - done) ** 3

    def settled(self, step: int) -> bool:
        """Return whether the share no longer changes from this step on."""
        return step >= self.end * self.steps
