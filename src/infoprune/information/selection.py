"""Greedy selection of features by information: joint information, or relevance minus redundancy."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """Selected units, first to last, and the gain of each.

    Args:
        order: Unit indices, (steps,).
        gains: Gains in nats, (steps,); for `mrmr` relevance minus redundancy.
    """

    order: Int[Tensor, " steps"]
    gains: Float[Tensor, " steps"]


def select_jointly(
    covariance: Float[Tensor, "n n"], conditional: Float[Tensor, "n n"], size: int = 1, count: int | None = None
) -> Selection:
    r"""Select again and again the unit that adds most to I(X_S; Y), for jointly Gaussian X and Y.

    With A = Cov(X) and B = Cov(X | Y), I(X_S; Y) = 1/2 log(|A_SS| / |B_SS|), so that unit j adds

        gain_j = 1/2 log( |A_jj|S| / |B_jj|S| )

    where |S denotes what is left when X_S is known. Both are kept up to date as pivoted Cholesky factors with the same
    pivots, a row at a time: O(n k^2) for k units, and no inverse. The gains add up to I(X_S; Y).

    Args:
        covariance: Covariance A, positive definite.
        conditional: Conditional covariance B, positive definite; see `conditional_covariance`.
        size: Number of coordinates of a unit; units are consecutive blocks.
        count: Number of units to select; None means all.

    Source:
        The gain is the conditional mutual information I(x_j; Y | X_S) of Gaussians (Cover and Thomas 2006, theorem
        8.4.1); greedy selection by it is Krause and Guestrin, *Near-optimal nonmyopic value of information*, UAI 2005.
    """
    units = len(covariance) // size
    least = len(covariance) * torch.finfo(torch.float64).eps * float(covariance.diagonal().amax())
    factors = [_Pivoted(matrix.double(), size, least) for matrix in (covariance, conditional)]
    taken = torch.zeros(units, dtype=torch.bool, device=covariance.device)
    order, gains = [], []
    for _ in range(units if count is None else count):
        a, b = (factor.half_log_volumes() for factor in factors)
        gain = (a - b).masked_fill(taken, -torch.inf)
        j = int(gain.argmax())
        order.append(j)
        gains.append(float(gain[j].clamp_min(0)))  # rounding, where nothing is left to gain
        taken[j] = True
        for factor in factors:
            factor.take(j)
    device = covariance.device
    return Selection(
        torch.tensor(order, dtype=torch.long, device=device), torch.tensor(gains, dtype=torch.float64, device=device)
    )


class _Pivoted:
    """A Cholesky factor, built by blocks in any order, and the diagonal blocks of the remainder."""

    def __init__(self, matrix: Float[Tensor, "n n"], size: int, least: float) -> None:
        n = len(matrix)
        self._matrix, self._size, self._rows = matrix, size, 0
        self._factor = matrix.new_empty(n, n)
        self._rest = matrix.reshape(n // size, size, n // size, size).diagonal(dim1=0, dim2=2).movedim(-1, 0).clone()
        self._least = least  # what rounding leaves of a variance of zero

    def half_log_volumes(self) -> Float[Tensor, " units"]:
        """Return 1/2 logdet of every unit's block, given the units taken."""
        if self._size == 1:
            volumes: Tensor = self._rest[:, 0, 0].clamp_min(self._least).log()
        else:
            volumes = torch.linalg.slogdet(self._rest).logabsdet
        return volumes / 2

    def take(self, unit: int) -> None:
        """Add a unit to those that are given."""
        block = slice(unit * self._size, (unit + 1) * self._size)
        known = self._factor[: self._rows]
        row = torch.addmm(self._matrix[block], known[:, block].T, known, alpha=-1)
        pivot = row[:, block]
        if self._size == 1:
            row /= pivot.clamp_min(self._least).sqrt()
        else:
            row = torch.linalg.solve_triangular(torch.linalg.cholesky(pivot), row, upper=False)
        self._factor[self._rows : self._rows + self._size] = row
        self._rows += self._size
        blocks = row.reshape(self._size, -1, self._size).movedim(1, 0)
        self._rest -= blocks.mT @ blocks


def mrmr(
    relevance: Float[Tensor, " units"], redundancy: Float[Tensor, "units units"], count: int | None = None
) -> Selection:
    r"""Select again and again the unit with the largest relevance minus redundancy (mRMR).

        I(x_j; Y) - 1/|S| sum_{s in S} I(x_j; x_s)

    S are the units selected so far; the first one is the most relevant.

    Args:
        relevance: Relevance I(x_j; Y) in nats, (units,).
        redundancy: Redundancy I(x_i; x_j) in nats, (units, units); the diagonal is not read.
        count: Number of units to select; None means all.

    Source:
        H. Peng, F. Long and C. Ding, *Feature selection based on mutual information: criteria of max-dependency,
        max-relevance, and min-redundancy*, IEEE Trans. PAMI 27 (2005), 1226-1238, equation (7).
    """
    units = len(relevance)
    redundancy = redundancy.double().clamp(max=torch.finfo(torch.float32).max)  # infinite between duplicates
    shared = torch.zeros_like(relevance, dtype=torch.float64)
    taken = torch.zeros(units, dtype=torch.bool, device=relevance.device)
    order, gains = [], []
    for step in range(units if count is None else count):
        score = (relevance - shared / max(step, 1)).masked_fill(taken, -torch.inf)
        j = int(score.argmax())
        order.append(j)
        gains.append(float(score[j]))
        taken[j] = True
        shared = shared + redundancy[j].masked_fill(taken, 0)
    device = relevance.device
    return Selection(
        torch.tensor(order, dtype=torch.long, device=device), torch.tensor(gains, dtype=torch.float64, device=device)
    )
