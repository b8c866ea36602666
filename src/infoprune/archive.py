"""Archive: statistics as a folder that appears whole or not at all, and back again."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from infoprune.folders import new_folder
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.stored import read_statistics, write_statistics


def save_statistics(statistics: Statistics, folder: str | os.PathLike[str], *, force: bool = False) -> None:
    """Writes statistics as a new folder: a JSON header, and one safetensors file a site.

    With them units can be ranked and plans made without the model, by other criteria and to other budgets. They hold
    sums over the texts and a number for each token, but no text.

    Args:
        statistics: from `collect` or `merge_statistics`; pairs are left out.
        folder: that is written; it appears whole or not at all.
        force: replace the folder if it is there.

    Raises:
        InputError: the folder is there and not empty.

    Example:
        >>> save_statistics(collect(model, batches), "my-classifier.statistics")
    """
    with new_folder(folder, force=force) as draft:
        write_statistics(statistics, draft)


def load_statistics(folder: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> Statistics:
    """Statistics from a folder; the matrices of a site are read when the site is asked for, one site at a time.

    Args:
        folder: from `save_statistics` or `infoprune collect`.
        device: where to rank.

    Raises:
        InputError: there are none, or they are damaged.

    Example:
        >>> plan = allocate(rank(load_statistics("my-classifier.statistics"), ChannelInformation()), Keep(0.5))
    """
    return read_statistics(Path(folder), device)
