"""Free memory: what this process can still take, of the machine, of its container or of a device."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import torch

LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Files in which Linux shows the memory of a container, of versions 2 and 1 of its control groups."""


def memory_in_use(device: torch.device) -> int:
    """Return the bytes that this process has taken, of main memory or of a device."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def left_of(memory: int | None, device: torch.device) -> int | None:
    """Return what is left of the memory that this process may take, at least a byte; None for no limit."""
    return None if memory is None else max(1, memory - memory_in_use(device))


def free_memory(device: torch.device) -> int:
    """Return the bytes of memory that are free on a device; of main memory, what the container allows."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [int(psutil.virtual_memory().available)]
    for limit, used in LIMITS:
        with suppress(OSError, ValueError):  # no such file, or the word "max"
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(0, min(found))
