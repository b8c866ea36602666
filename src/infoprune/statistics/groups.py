"""Groups: sites whose statistics fit into memory together; each group is collected in a pass of its own."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from infoprune.errors import InputError
from infoprune.files.drafts import open_draft
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.stored import read_statistics, write_statistics
from infoprune.structure.linear import linear
from infoprune.structure.site import Site

EIGHT = 8
"""Bytes of a number in float64."""


def site_bytes(outputs: int, inputs: int, units: int) -> int:
    """Return the bytes of a site's statistics: two means and covariances, Fisher matrix, reader, two norms a unit."""
    return EIGHT * (2 * inputs * (inputs + 1) + outputs**2 + outputs * inputs + 2 * units)


def groups(model: nn.Module, sites: Sequence[Site], memory: int | None) -> list[list[Site]]:
    """Group neighbouring sites that together take at most `memory` bytes; None puts all sites into one group.

    Raises:
        InputError: One site alone takes more.
    """
    if memory is None:
        return [list(sites)]
    found: list[list[Site]] = [[]]
    taken = 0
    for site in sites:
        outputs, inputs = linear(model, site.reader).weight.shape
        outputs = inputs if site.streams else outputs
        needed = site_bytes(outputs, inputs, site.units)
        if needed > memory:
            raise InputError(
                f"the statistics of {site.name} take {needed:,} bytes, and `memory` allows {memory:,}; allow at least "
                f"{math.ceil(needed / 2**20)} MiB"
            )
        if taken + needed > memory and found[-1]:
            found.append([])
            taken = 0
        found[-1].append(site)
        taken += needed
    return found


def on_disk(statistics: Statistics) -> Statistics:
    """Write statistics to disk, and return the same statistics with sites that are read when they are accessed.

    The files lie in the folder for temporary files (TMPDIR moves it) and are deleted with the returned value; the files
    of a process that was killed are deleted by the next call.
    """
    folder, drop = open_draft(Path(tempfile.gettempdir()) / "infoprune-statistics")
    try:
        device = next(iter(statistics.sites.values())).fisher.device
        write_statistics(statistics, folder)
        stored = read_statistics(folder, device)
    except BaseException:
        drop()
        raise
    weakref.finalize(stored.sites, drop)
    return stored
