"""Nearest: which of the rows that stay comes closest to a row that goes, in the metric of the demand. Tensors only."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

PANEL = 2048
"""Rows that are compared at once; the memory is that of a few tables of so many rows, and of PANEL^2 distances."""


def nearest_rows(
    table: Float[Tensor, "rows n"], metric: Float[Tensor, "n n"], kept: Int[Tensor, " k"], panel: int = PANEL
) -> Int[Tensor, " rows"]:
    r"""For every row t of a table the kept row k that minimises (e_t - e_k)^T M (e_t - e_k); a kept row is its own.

    With M = G + tau mean(diag G) 1 this is, to leading order, twice the KL divergence in nats that the change of row
    causes. Since e_t^T M e_t is the same for all k, only e_k^T M e_k - 2 e_t^T M e_k is compared, panel by panel.

    Args:
        table: of any dtype; compared in that of the metric.
        metric: symmetric, positive definite.
        kept: ascending. Of rows that are equally near the first is taken.
        panel: rows at once.

    Example:
        >>> nearest_rows(torch.tensor([[0.0], [1.0], [3.0]]), torch.eye(1), torch.tensor([0, 2]))
        tensor([0, 0, 2])
    """
    norms = torch.cat([((e @ metric) * e).sum(1) for e in _panels(table, metric, kept, panel)])
    goes = torch.ones(len(table), dtype=torch.bool, device=table.device)
    goes[kept] = False
    found = torch.arange(len(table), device=table.device)
    for tokens in goes.nonzero()[:, 0].split(panel):  # type: ignore[no-untyped-call]
        turned = table[tokens].to(metric.dtype) @ metric
        least = torch.full((len(tokens),), torch.inf, dtype=metric.dtype, device=table.device)
        for start, e in zip(range(0, len(kept), panel), _panels(table, metric, kept, panel), strict=True):
            values, place = (norms[start : start + panel] - 2 * turned @ e.T).min(1)
            nearer = values < least
            least = torch.where(nearer, values, least)
            found[tokens[nearer]] = kept[start + place[nearer]]
    return found


def _panels(
    table: Float[Tensor, "rows n"], metric: Float[Tensor, "n n"], kept: Int[Tensor, " k"], panel: int
) -> Iterator[Float[Tensor, "_ n"]]:
    return (table[rows].to(metric.dtype) for rows in kept.split(panel))  # type: ignore[no-untyped-call]
