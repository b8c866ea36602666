r"""Backward elimination: remove the unit with the least loss, again and again, with the readers re-fitted each time.

Readers y = W x, covariance C of x, metric Q at y. For the kept set S let M = C_SS^-1 and A = W^T Q W, with W the
compensated reader. Removing unit j costs, in nats,

    trace limit        1/2 v A_jj                    v = 1 / M_jj
    log-determinant    1/2 log(1 + v A_jj)

after which, with m = M_:j / M_jj, b = A_:j - A_jj m / 2, a = A_:j - A_jj m and c = v / (1 + v A_jj),

    M <- M - M_jj m m^T
    A <- A - m b^T - b m^T  [- c a a^T  for the log-determinant: Q has lost a direction too].

Neither W nor Q is ever needed again, only A: two symmetric matrices and their diagonals. The updates are kept apart as
vectors and applied in one matrix product every `panel` steps, when the matrices also shrink to the remaining units.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Elimination:
    """Units in the order of removal, and the loss of each removal.

    Args:
        order: Unit indices, (steps,).
        losses: Losses in nats, (steps,); in the trace limit of a unit-variance metric, half the squared error.
    """

    order: Int[Tensor, " steps"]
    losses: Float[Tensor, " steps"]


def eliminate(
    covariance: Float[Tensor, "n n"],
    gram: Float[Tensor, "n n"],
    *,
    size: int = 1,
    keep: int = 0,
    log: bool = False,
    panel: int = 128,
) -> Elimination:
    """Remove units greedily, the least loss first, until `keep` are left.

    Args:
        covariance: Covariance C, positive definite (shrink it first).
        gram: W^T Q W: how strongly each pair of coordinates is read, in nats per squared unit of x.
        size: Number of coordinates of a unit; units are consecutive blocks.
        keep: Number of units to leave.
        log: Use log-determinant losses instead of the trace limit.
        panel: Number of steps between two applications of the pending updates (single coordinates only).

    Source:
        With Q = identity the trace limit is optimal brain surgeon for a least-squares objective (Hassibi and Stork,
        NIPS 1993); the metric and the log-determinant are section 5 of docs/concepts/method.md.
    """
    precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance.double()))
    if size == 1:
        return _eliminate_units(precision, gram.double().clone(), keep, log, panel)
    return _eliminate_blocks(precision, gram.double().clone(), size, keep, log)


def _eliminate_units(m: Tensor, a: Tensor, keep: int, log: bool, panel: int) -> Elimination:
    alive = torch.arange(len(m), device=m.device)
    order, losses = [], []
    while len(alive) > keep:
        steps = min(panel, len(alive) - keep)
        removed, lost, m, a = _panel(m, a, steps, log)
        order.append(alive[removed])
        losses.append(lost)
        survives = torch.ones_like(alive, dtype=torch.bool)
        survives[removed] = False
        alive = alive[survives]
    empty = torch.zeros(0, dtype=torch.float64, device=m.device)
    return Elimination(torch.cat(order) if order else alive[:0], torch.cat(losses) if losses else empty)


def _panel(m: Tensor, a: Tensor, steps: int, log: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make `steps` removals with the updates pending, then apply the updates to what is left."""
    n = len(m)
    scaled, spread = m.new_empty(steps, n), m.new_empty(steps, n)  # m and b of every step
    shared = m.new_empty(steps if log else 0, n)  # sqrt(c) a
    pivots, lost = m.new_empty(steps), m.new_empty(steps)  # M_jj; v A_jj
    removed = torch.empty(steps, dtype=torch.long, device=m.device)
    m_diagonal, a_diagonal = m.diagonal().clone(), a.diagonal().clone()
    cost, gone = torch.empty_like(m_diagonal), torch.zeros(n, dtype=torch.bool, device=m.device)
    for step in range(steps):
        torch.div(a_diagonal, m_diagonal, out=cost).masked_fill_(gone, torch.inf)
        j = int(cost.argmin())
        removed[step], lost[step] = j, cost[j]
        ms, bs, shares = scaled[:step], spread[:step], shared[:step]
        row = torch.addmv(m[j], ms.T, ms[:, j] * pivots[:step], alpha=-1)
        read = torch.addmv(a[j], ms.T, bs[:, j], alpha=-1).addmv_(bs.T, ms[:, j], alpha=-1)
        if log:
            read.addmv_(shares.T, shares[:, j], alpha=-1)
        pivots[step] = row[j]
        torch.mul(row, row[j].reciprocal(), out=scaled[step])
        torch.addcmul(read, scaled[step], read[j], value=-0.5, out=spread[step])
        m_diagonal.addcmul_(row, scaled[step], value=-1)
        a_diagonal.addcmul_(scaled[step], spread[step], value=-2)
        if log:
            torch.mul(read - read[j] * scaled[step], (row[j] + read[j]).rsqrt(), out=shared[step])
            a_diagonal.addcmul_(shared[step], shared[step], value=-1)
        gone[j] = True
    rest = (~gone).nonzero()[:, 0]
    scaled, spread, shared = (each.index_select(1, rest) for each in (scaled, spread, shared))
    m = _among(m, rest).addmm_(scaled.T * pivots, scaled, alpha=-1)
    a = _among(a, rest).addmm_(torch.cat([scaled, spread, shared]).T, torch.cat([spread, scaled, shared]), alpha=-1)
    lost.clamp_min_(0)
    return removed, lost.log1p() / 2 if log else lost / 2, m, a


def _among(matrix: Float[Tensor, "n n"], rest: Int[Tensor, " k"]) -> Float[Tensor, "k k"]:
    """Return matrix[rest][:, rest], several times faster."""
    return matrix.index_select(0, rest).gather(1, rest.expand(len(rest), -1))


def _eliminate_blocks(m: Tensor, a: Tensor, size: int, keep: int, log: bool) -> Elimination:
    units = len(m) // size
    alive = torch.arange(units, device=m.device)
    order, losses = [], []
    while len(alive) > keep:
        blocks = m.reshape(len(alive), size, len(alive), size).diagonal(dim1=0, dim2=2).movedim(-1, 0)
        reads = a.reshape(len(alive), size, len(alive), size).diagonal(dim1=0, dim2=2).movedim(-1, 0)
        cost = _block_losses(blocks, reads, log)
        j = int(cost.argmin())
        order.append(alive[j])
        losses.append(cost[j].clamp_min(0))
        m, a = _remove_block(m, a, slice(j * size, (j + 1) * size), log)
        alive = torch.cat([alive[:j], alive[j + 1 :]])
    if not order:
        return Elimination(alive[:0], m.new_zeros(0))
    return Elimination(torch.stack(order), torch.stack(losses))


def _block_losses(m: Float[Tensor, "u s s"], a: Float[Tensor, "u s s"], log: bool) -> Float[Tensor, " u"]:
    """Return 1/2 tr(V A) or 1/2 logdet(1 + V A) for every unit, V the inverse of its block of the precision."""
    factor = torch.linalg.cholesky(m)
    inner = torch.linalg.solve_triangular(factor, a, upper=False)
    inner = torch.linalg.solve_triangular(factor, inner.mT, upper=False)  # L^-1 A L^-T, similar to V A
    if not log:
        trace: Tensor = inner.diagonal(dim1=1, dim2=2).sum(1)
        return trace / 2
    identity = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
    information: Tensor = torch.linalg.slogdet(identity + inner).logabsdet / 2
    return information


def _remove_block(m: Tensor, a: Tensor, block: slice, log: bool) -> tuple[Tensor, Tensor]:
    rest = torch.ones(len(m), dtype=torch.bool, device=m.device)
    rest[block] = False
    mjj, ajj = m[block, block], a[block, block]
    scaled = torch.linalg.solve(mjj, m[block][:, rest])  # (size, rest)
    read = a[block][:, rest]
    shared = read - ajj @ scaled
    cross = scaled.T @ read
    new_m = m[rest][:, rest] - m[block][:, rest].T @ scaled
    new_a = a[rest][:, rest] - cross - cross.T + scaled.T @ ajj @ scaled
    if log:
        new_a -= shared.T @ torch.linalg.solve(mjj + ajj, shared)
    return (new_m + new_m.T) / 2, (new_a + new_a.T) / 2


def by_score(score: Float[Tensor, " units"]) -> Elimination:
    """Order units by their own scores, the lowest first; of equal ones the first."""
    losses, order = torch.sort(score, stable=True)
    return Elimination(order, losses)


def compensate(
    covariance: Float[Tensor, "n n"], reader: Float[Tensor, "o n"], kept: Int[Tensor, " k"]
) -> Float[Tensor, "o k"]:
    """Return the reader re-fitted by least squares to the kept coordinates: W C_:S C_SS^-1."""
    inner = covariance[kept[:, None], kept]
    weight: Tensor = torch.linalg.solve(inner, covariance[kept] @ reader.T).T
    return weight
