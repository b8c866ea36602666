"""Stages: the memory, operations and time of each stage, and of the whole."""

from __future__ import annotations

from dataclasses import dataclass

STAGES = ("collect", "rank", "repair")


@dataclass(frozen=True)
class Stage:
    """Memory, operations and time of a stage.

    Args:
        bytes: Memory at its peak, beyond the model.
        flops: Operations in the model's own precision.
        exact: Operations in float64, and those in float32 as the half of one; those of an elimination count several
            times.
        seconds: Time on this machine; None where it was not measured.
    """

    bytes: int
    flops: float
    exact: float
    seconds: float | None = None


@dataclass(frozen=True)
class Forecast:
    """Memory, operations and time of `prune`, accurate to about a third.

    Args:
        parameters: Number of parameters of the model.
        bytes: Bytes of its weights.
        forward: FLOPs of one pass over all texts.
        passes: Number of forward passes of `collect`: 2 where graph and statistics do not fit into the memory.
        sites: Bytes of the statistics by site name.
        from_disk: Bytes that ranking takes at once where the statistics are read from disk.
        stages: Stages by name: "collect", "rank" (and cut), "repair".
    """

    parameters: int
    bytes: int
    forward: float
    passes: int
    sites: dict[str, int]
    from_disk: int
    stages: dict[str, Stage]

    @property
    def peak(self) -> int:
        """Bytes at the peak, including the model."""
        return self.bytes + max(stage.bytes for stage in self.stages.values())

    @property
    def seconds(self) -> float | None:
        """Seconds of all stages on this machine; None where they were not measured."""
        taken = [stage.seconds for stage in self.stages.values() if stage.seconds is not None]
        return sum(taken) if taken else None
