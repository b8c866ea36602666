r"""Backward elimination of units that are read at several places, the readers of each place being re-fitted.

At place l the units have covariance C_l and the metric of what reads them is A_l. For the kept set S, with M_l =
[C_l,SS]^-1 and A_l compensated as in `eliminate`, removing unit j costs, in nats,

    trace limit        sum over l of  1/2 v_lj A_l,jj                   v_lj = 1 / M_l,jj
    log-determinant    sum over l of  1/2 log(1 + v_lj A_l,jj)

and every place is updated by the formulas of `eliminate`. One unit goes everywhere at once: a coordinate of the
residual stream is one for all layers.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.ranking.eliminate import Elimination


def eliminate_jointly(
    covariances: Float[Tensor, "l n n"],
    grams: Float[Tensor, "l n n"],
    *,
    keep: int = 0,
    log: bool = False,
    counted: int | None = None,
) -> Elimination:
    """Removes units greedily, the one first whose losses at all places add up to the least, until `keep` are left.

    Args:
        covariances: C_l of every place, positive definite (shrink them first).
        grams: how strongly each pair of units is read there, in nats per squared unit.
        keep: units to leave.
        log: log-determinant losses instead of the trace limit.
        counted: report the losses at so many of the first places alone; None reports the sum over all.

    Example:
        >>> eliminate_jointly(torch.eye(2).expand(3, 2, 2), torch.diag(torch.tensor([2.0, 1.0])).expand(3, 2, 2)).losses
        tensor([1.5000, 3.0000], dtype=torch.float64)
    """
    m = torch.cholesky_inverse(torch.linalg.cholesky(covariances.double()))
    a = grams.double().clone()
    alive = torch.arange(m.shape[1], device=m.device)
    order, losses = [], []
    while len(alive) > keep:
        each = (a.diagonal(dim1=1, dim2=2) / m.diagonal(dim1=1, dim2=2)).clamp_min(0)
        cost = (each.log1p() if log else each) / 2
        j = int(cost.sum(0).argmin())
        order.append(alive[j])
        losses.append(cost[:counted, j].sum())
        m, a = _removed(m, a, j, log)
        alive = torch.cat([alive[:j], alive[j + 1 :]])
    if not order:
        return Elimination(alive[:0], m.new_zeros(0))
    return Elimination(torch.stack(order), torch.stack(losses))


def _removed(m: Tensor, a: Tensor, j: int, log: bool) -> tuple[Tensor, Tensor]:
    """Both matrices of every place without unit j."""
    rest = torch.arange(m.shape[1], device=m.device) != j
    pivot, own = m[:, j, j, None], a[:, j, j, None]
    row, read = m[:, j, rest], a[:, j, rest]
    scaled = row / pivot
    spread = read - own * scaled / 2
    m = m[:, rest][:, :, rest]
    a = a[:, rest][:, :, rest]
    m.baddbmm_(row[:, :, None], scaled[:, None, :], alpha=-1)
    pairs = torch.stack([scaled, spread], 2), torch.stack([spread, scaled], 1)
    a.baddbmm_(*pairs, alpha=-1)
    if log:
        shared = read - own * scaled
        a.baddbmm_((shared / (pivot + own))[:, :, None], shared[:, None, :], alpha=-1)
    return m, a
