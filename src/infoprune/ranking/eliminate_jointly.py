r"""Backward elimination of units that are read at several points, with the readers of each point re-fitted.

At read point l the units have covariance C_l, and A_l is the metric of what reads them. For the kept set S, with
M_l = [C_l,SS]^-1 and A_l compensated as in `eliminate`, removing unit j costs, in nats,

    trace limit        sum over l of  1/2 v_lj A_l,jj                   v_lj = 1 / M_l,jj
    log-determinant    sum over l of  1/2 log(1 + v_lj A_l,jj)

and every point is updated by the formulas of `eliminate`, a panel of removals at a time as there. A unit is removed at
all points at once: a coordinate of the residual stream is the same one for all layers.
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
    panel: int = 128,
) -> Elimination:
    """Remove units greedily, the least sum of losses over all read points first, until `keep` are left.

    Args:
        covariances: Covariance C_l of every read point, positive definite (shrink them first).
        grams: How strongly each pair of units is read there, in nats per squared unit.
        keep: Number of units to leave.
        log: Use log-determinant losses instead of the trace limit.
        counted: Report the losses at so many of the first points alone; None reports the sum over all.
        panel: Number of steps between two applications of the pending updates.

    Examples:
        >>> eliminate_jointly(torch.eye(2).expand(3, 2, 2), torch.diag(torch.tensor([2.0, 1.0])).expand(3, 2, 2)).losses
        tensor([1.5000, 3.0000], dtype=torch.float64)
    """
    m = torch.cholesky_inverse(torch.linalg.cholesky(covariances.double()))
    a = grams.double().clone()
    alive = torch.arange(m.shape[1], device=m.device)
    order, losses = [alive[:0]], [m.new_zeros(0)]
    while len(alive) > keep:
        removed, lost, m, a = _panel(m, a, min(panel, len(alive) - keep), log, counted)
        order.append(alive[removed])
        losses.append(lost)
        survives = torch.ones_like(alive, dtype=torch.bool)
        survives[removed] = False
        alive = alive[survives]
    return Elimination(torch.cat(order), torch.cat(losses))


def _panel(m: Tensor, a: Tensor, steps: int, log: bool, counted: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make `steps` removals with the updates pending, then apply the updates to what is left."""
    points, n = m.shape[:2]
    scaled, spread = m.new_empty(points, steps, n), m.new_empty(points, steps, n)  # m and b of every step
    shared = m.new_empty(points, steps if log else 0, n)  # sqrt(c) a
    pivots, lost = m.new_empty(points, steps), m.new_empty(steps)
    removed = torch.empty(steps, dtype=torch.long, device=m.device)
    m_diagonal, a_diagonal = (each.diagonal(dim1=1, dim2=2).clone() for each in (m, a))
    gone = torch.zeros(n, dtype=torch.bool, device=m.device)
    for step in range(steps):
        each = (a_diagonal / m_diagonal).clamp_min_(0)
        cost = (each.log1p_() if log else each).div_(2)
        j = int(cost.sum(0).masked_fill_(gone, torch.inf).argmin())
        removed[step], lost[step] = j, cost[:counted, j].sum()
        ms, bs, shares = scaled[:, :step], spread[:, :step], shared[:, :step]
        row = m[:, j] - _combined(ms[:, :, j] * pivots[:, :step], ms)
        read = a[:, j] - _combined(bs[:, :, j], ms) - _combined(ms[:, :, j], bs)
        if log:
            read -= _combined(shares[:, :, j], shares)
        pivots[:, step] = row[:, j]
        scaled[:, step] = row / row[:, j, None]
        spread[:, step] = read - scaled[:, step] * read[:, j, None] / 2
        m_diagonal -= row * scaled[:, step]
        a_diagonal -= 2 * scaled[:, step] * spread[:, step]
        if log:
            shared[:, step] = (read - read[:, j, None] * scaled[:, step]) * (row + read)[:, j, None].rsqrt()
            a_diagonal -= shared[:, step].square()
        gone[j] = True
    rest = (~gone).nonzero()[:, 0]
    scaled, spread, shared = (each.index_select(2, rest) for each in (scaled, spread, shared))
    m, a = (each.index_select(1, rest).index_select(2, rest) for each in (m, a))
    m.baddbmm_((scaled * pivots[:, :, None]).mT, scaled, alpha=-1)
    a.baddbmm_(torch.cat([scaled, spread, shared], 1).mT, torch.cat([spread, scaled, shared], 1), alpha=-1)
    return removed, lost, m, a


def _combined(factors: Float[Tensor, "l k"], rows: Float[Tensor, "l k n"]) -> Float[Tensor, "l n"]:
    """Return, for every read point, the sum of the rows, each times its factor."""
    return torch.bmm(factors[:, None], rows)[:, 0]
