"""Remapping: the kept row nearest to each dropped row, in the metric of the output Fisher information. Tensors only."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

PANEL = 2048
"""Rows compared at once; needs memory for a few tables of this many rows and for PANEL^2 distances."""


def remap_tokens(
    table: Float[Tensor, "rows n"], metric: Float[Tensor, "n n"], kept: Int[Tensor, " k"], panel: int = PANEL
) -> Int[Tensor, " rows"]:
    r"""Find for every row t of a table the kept row k that minimises (e_t - e_k)^T M (e_t - e_k).

    A kept row maps to itself. With M = G + tau mean(diag G) 1 the minimum is, to leading order, twice the KL divergence
    in nats that the change of row causes. Since e_t^T M e_t is the same for all k, only e_k^T M e_k - 2 e_t^T M e_k is
    compared, panel by panel.

    Args:
        table: Embedding table of any dtype; compared in the dtype of the metric.
        metric: Symmetric, positive definite matrix M.
        kept: Kept rows, ascending. The first of equally near rows is taken.
        panel: Rows compared at once.

    Returns:
        The kept row for every row of the table.

    Examples:
        >>> remap_tokens(torch.tensor([[0.0], [1.0], [3.0]]), torch.eye(1), torch.tensor([0, 2]))
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
            values, index = (norms[start : start + panel] - 2 * turned @ e.T).min(1)
            nearer = values < least
            least = torch.where(nearer, values, least)
            found[tokens[nearer]] = kept[start + index[nearer]]
    return found


def _panels(
    table: Float[Tensor, "rows n"], metric: Float[Tensor, "n n"], kept: Int[Tensor, " k"], panel: int
) -> Iterator[Float[Tensor, "_ n"]]:
    return (table[rows].to(metric.dtype) for rows in kept.split(panel))  # type: ignore[no-untyped-call]
