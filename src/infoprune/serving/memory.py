"""Memory: what a computation takes at its peak, measured in a process of its own."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

STATUS = Path("/proc/self/status")
"""Linux keeps a process's own peak here; that of getrusage begins with the peak of whoever started it."""


def peak_memory(prepare: Callable[[], object], work: Callable[[], object]) -> int:
    """Bytes of main memory that some work takes at its peak beyond what was there before it.

    A fresh process does the work, for this one may hold memory that it has freed already. As always with processes, a
    script that calls this has to keep its own work below ``if __name__ == "__main__"``.

    Args:
        prepare: what does not count, such as imports; a function of a module, or a partial of one.
        work: what counts; likewise.

    Example:
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
    """The largest memory of this process until now, in bytes."""
    if STATUS.is_file():
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
