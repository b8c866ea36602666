"""Clock: seconds of every stage, and a progress callback for each."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infoprune.statistics.calibration import Progress

StageProgress = Callable[[str, int, int], None]


class Clock:
    """Sum of the seconds of every stage.

    Args:
        progress: Called with (stage, done, of).
    """

    def __init__(self, progress: StageProgress | None) -> None:
        self._progress = progress
        self._spent: dict[str, float] = defaultdict(float, collect=0.0, rank=0.0, repair=0.0, distill=0.0)
        self._started = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress | None]:
        """Time the block and yield a progress callback for its stage."""
        started, progress = time.perf_counter(), self._progress
        yield None if progress is None else lambda done, of: progress(name, done, of)
        self._spent[name] += time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        """Return the seconds by stage so far, and their `total` since the start."""
        return {**self._spent, "total": time.perf_counter() - self._started}
