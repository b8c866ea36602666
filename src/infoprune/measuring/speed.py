"""Speed: the rate at which this machine multiplies matrices."""

from __future__ import annotations

import math
import time

import torch

from infoprune.measuring.machine import remembered


def product_rate(dtype: torch.dtype, tokens: int, dimension: int, device: torch.device) -> float:
    """Return the operations per second of matrix products like those of a layer, measured once on this machine.

    Args:
        dtype: Type of the numbers.
        tokens: Number of rows, rounded to a power of two and at most 4,096.
        dimension: Number of columns, rounded likewise.
        device: The device that computes.
    """
    rows, columns = (2 ** round(math.log2(min(size, 4096))) for size in (tokens, dimension))

    def measure() -> list[float]:
        a = torch.ones(rows, columns, dtype=dtype, device=device)
        b = torch.ones(columns, columns // 2, dtype=dtype, device=device)
        spent = []
        # on a CPU the time of this process's threads, which other processes do not change
        clock = _busy_seconds if device.type == "cpu" else time.perf_counter
        for _ in range(7):
            started = clock()
            (a @ b)[0, 0].item()
            spent.append(clock() - started)
        return [rows * columns * columns / min(spent)]

    key: dict[str, object] = {"dtype": str(dtype), "rows": rows, "columns": columns}
    return remembered("products", key, device, measure)[0]


def _busy_seconds() -> float:
    return time.process_time() / torch.get_num_threads()
