"""Memory: the peak memory of a computation, measured in a separate process."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

STATUS = Path("/proc/self/status")
"""File in which Linux keeps a process's own peak; the peak of getrusage starts at that of the parent process."""


def peak_memory(prepare: Callable[[], object], work: Callable[[], object]) -> int:
    """Return the peak main memory of some work in bytes, beyond the memory in use before it.

    A new process does the work, since this one may hold memory that it has already freed. As always with processes, a
    script that calls this must keep its own work below ``if __name__ == "__main__"``.

    Args:
        prepare: Preparation that does not count, such as imports; a function of a module, or a partial of one.
        work: Measured work; likewise.

    Examples:
        >>> peak_memory(partial(import_module, "torch"), partial(bytearray, 10_000_000))
        10000000
    """
    spawn = multiprocessing.get_context("spawn")  # a forked process would share the memory of this one
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(_measured, prepare, work).result()


def _measured(prepare: Callable[[], object], work: Callable[[], object]) -> int:
    prepare()
    gc.collect()
    before = _peak()
    work()
    return _peak() - before


def _peak() -> int:
    """Return the peak memory of this process so far, in bytes."""
    if STATUS.is_file():
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
