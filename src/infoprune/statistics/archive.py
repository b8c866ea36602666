"""Archive: save statistics as a folder, which appears whole or not at all, and load them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from infoprune.files.folders import new_folder
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.stored import read_statistics, write_statistics


def save_statistics(statistics: Statistics, folder: str | os.PathLike[str], *, force: bool = False) -> None:
    """Save statistics as a new folder: a JSON header and one safetensors file per site.

    Saved statistics are enough to rank units and to make plans without the model, by other criteria and for other
    budgets. The folder holds sums over the texts and one number per token and site, but no text.

    Args:
        statistics: Statistics from `collect` or `merge_statistics`; pairs are left out.
        folder: Folder to write; it appears whole or not at all.
        force: Replace the folder if it exists.

    Raises:
        InputError: The folder exists and is not empty, and `force` is not set.

    Examples:
        >>> save_statistics(collect(model, batches), "my-classifier.statistics")
        >>> load_statistics("my-classifier.statistics").model_type
        'bert'
    """
    with new_folder(folder, force=force) as draft:
        write_statistics(statistics, draft)


def load_statistics(folder: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> Statistics:
    """Load statistics from a folder.

    The matrices of a site are read when the site is accessed, one site at a time.

    Args:
        folder: Folder from `save_statistics` or `infoprune collect`.
        device: Device to rank on.

    Returns:
        The statistics; their matrices stay on disk.

    Raises:
        InputError: The folder holds no statistics, or they are damaged.

    Examples:
        >>> infoprune.save_statistics(infoprune.collect(model, batches), "my-classifier.statistics")
        >>> infoprune.load_statistics("my-classifier.statistics").inputs
        216
    """
    return read_statistics(Path(folder), device)
