"""Training: the settings and inputs of a distillation after a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infoprune.statistics.calibration import Batch
from infoprune.training.distill import Distillation


@dataclass(frozen=True)
class Training:
    """Settings and inputs of the distillation in `prune`.

    Args:
        how: Epochs, losses and stopping.
        batches: Tokenised inputs, as from `make_batches`; labels are not needed.
        checkpoints: Folder for checkpoints, see `distill`.
    """

    how: Distillation
    batches: Sequence[Batch]
    checkpoints: Path | None = None

    @classmethod
    def of(cls, distill: Distillation | float, batches: Sequence[Batch], checkpoints: Path | None) -> Training:
        """Return the training for an argument `distill`, in which a number means epochs."""
        how = distill if isinstance(distill, Distillation) else Distillation(epochs=distill)
        return cls(how, batches, checkpoints)
