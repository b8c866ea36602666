"""On disk: statistics that do not fit into memory, kept in files for the time that they are used."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path

import torch

from infoprune.files.drafts import open_draft
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.stored import read_statistics, write_statistics

EIGHT = 8
"""Bytes of a number in float64."""


def site_bytes(outputs: int, inputs: int, units: int) -> int:
    """Return the bytes of a site's statistics: two means and covariances, Fisher matrix, reader, two norms a unit."""
    return EIGHT * (2 * inputs * (inputs + 1) + outputs**2 + outputs * inputs + 2 * units)


def on_disk(statistics: Statistics, matrices: torch.dtype = torch.float64) -> Statistics:
    """Write statistics to disk, and return the same statistics with sites that are read when they are accessed.

    The files lie in the folder for temporary files (TMPDIR moves it) and are deleted with the returned value; the files
    of a process that was killed are deleted by the next call.

    Args:
        statistics: The statistics.
        matrices: Type of the largest matrices in the files.
    """
    folder, drop = open_draft(Path(tempfile.gettempdir()) / "infoprune-statistics")
    try:
        device = next(iter(statistics.sites.values())).fisher.device
        write_statistics(statistics, folder, matrices)
        stored = read_statistics(folder, device)
    except BaseException:
        drop()
        raise
    weakref.finalize(stored.sites, drop)
    return stored
