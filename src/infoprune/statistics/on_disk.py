"""On disk: statistics that do not fit into memory, kept in files for the time that they are used."""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from infoprune.errors import InputError
from infoprune.files.drafts import open_draft
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.stored import read_statistics, write_statistics

EIGHT = 8
"""Bytes of a number in float64."""


def site_bytes(outputs: int, inputs: int, units: int, itemsize: int = EIGHT) -> int:
    """Return the bytes of a site's statistics: two means and covariances, Fisher matrix, reader, two norms a unit.

    Args:
        outputs: Outputs of the reader.
        inputs: Inputs of the reader.
        units: Number of units.
        itemsize: Bytes of an entry of the covariances.
    """
    return itemsize * 2 * inputs**2 + EIGHT * (2 * inputs + outputs**2 + outputs * inputs + 2 * units)


def on_disk(statistics: Statistics, matrices: torch.dtype = torch.float64) -> Statistics:
    """Write statistics to disk, and return the same statistics with sites that are read when they are accessed.

    The files lie in the folder for temporary files (TMPDIR moves it) and are deleted with the returned value; the files
    of a process that was killed are deleted by the next call.

    Args:
        statistics: The statistics.
        matrices: Type of the largest matrices in the files.

    Raises:
        InputError: The disk is full.
    """
    above = Path(tempfile.gettempdir())
    folder, drop = open_draft(above / "infoprune-statistics")
    try:
        device = next(iter(statistics.sites.values())).fisher.device
        write_statistics(statistics, folder, matrices)
        stored = read_statistics(folder, device)
    except BaseException as error:
        drop()
        if isinstance(error, OSError | SafetensorError):
            raise InputError(
                f"the statistics do not fit into {above} ({error}); free some space there, or set TMPDIR to a folder "
                "on a larger disk"
            ) from None
        raise
    weakref.finalize(stored.sites, drop)
    return replace(stored, fisher=statistics.fisher)
