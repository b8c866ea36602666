"""Sharing: combine the statistics of several processes into those of all their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from infoprune.processes import add_up, of_all, process_count
from infoprune.statistics.moments import Moments
from infoprune.statistics.statistics import SiteStatistics


def share_sums(statistics: SiteStatistics) -> None:
    """Turn the sums of one process into those of all processes, in place."""
    if process_count() > 1:
        share_moments(statistics.tokens)
        share_moments(statistics.importance)
        add_up(statistics.fisher)


def share_moments(moments: Moments) -> None:
    r"""Turn the moments of one process's rows into those of all rows, in place.

    With w_r, m_r and S_r the weight, mean and scatter of process r, and m the mean of all rows,

        S = sum_r S_r + w_r (m_r - m)(m_r - m)^T.
    """
    counts = torch.tensor([moments.weight, moments.rows], dtype=torch.float64, device=moments.mean.device)
    mean = moments.mean * moments.weight
    add_up(counts, mean)
    weight, rows = counts.tolist()
    if weight > 0:
        mean /= weight
    step = moments.mean - mean
    moments.triangle.addr_(step, step, alpha=moments.weight)
    add_up(moments.triangle)
    moments.mean.copy_(mean)
    moments.weight, moments.rows = weight, int(rows)


def share_importance(importance: Mapping[str, Sequence[Tensor]]) -> dict[str, tuple[Tensor, ...]]:
    """Return the token importance of all batches, in the order in which `share_of` deals them out."""
    return {name: tuple(of_all(each)) for name, each in importance.items()}


def share_keys(keys: Sequence[int]) -> tuple[int, ...]:
    """Return the keys of all batches, in the same order."""
    return tuple(int(key) for key in of_all([torch.tensor([[key]]) for key in keys], torch.long))
