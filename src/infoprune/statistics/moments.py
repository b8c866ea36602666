"""Weighted mean and covariance of a stream of rows, summed in float64, independent of how the stream is split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.statistics.precision import exact
from infoprune.statistics.products import add_products, mirrored, weighted_mean, wide


@dataclass
class Moments:
    r"""First two moments of a weighted sample, accumulated block by block.

    Every block is centred by its own mean before its product is formed, and blocks are joined by the pairwise formula,
    so that a large common offset costs no precision:

        S = S_a + S_b + (w_a w_b / (w_a + w_b)) (m_b - m_a)(m_b - m_a)^T

    Args:
        weight: Sum of the weights.
        mean: Weighted mean, (n,) float64.
        triangle: Matrix whose lower triangle is the weighted sum of centred outer products, (n, n) float64.
        rows: Number of rows with a positive weight.

    Source:
        T. F. Chan, G. H. Golub, R. J. LeVeque, *Updating formulae and a pairwise algorithm for computing sample
        variances*, 1979, equation (1.5), with weights.

    Examples:
        >>> moments = Moments.empty(3)
        >>> moments.update(torch.randn(100, 3))
        >>> moments.covariance.shape
        torch.Size([3, 3])
    """

    weight: float
    mean: Float[Tensor, " n"]
    triangle: Float[Tensor, "n n"]
    rows: int

    @classmethod
    def empty(cls, n: int, device: torch.device | str = "cpu") -> Moments:
        """Return the moments of no rows, over n variables."""
        zeros = torch.zeros(n + 1, n, dtype=torch.float64, device=device)
        return cls(0.0, zeros[0], zeros[1:], 0)

    def update(self, x: Float[Tensor, "t n"], weights: Float[Tensor, " t"] | None = None) -> None:
        """Add t rows; rows of weight zero are skipped. Weights are not negative; None means a weight of one each."""
        x = wide(x)
        weights = x.new_ones(len(x), dtype=torch.float64) if weights is None else exact(weights).to(x.device)
        counted = weights > 0
        if not counted.all():
            x, weights = x[counted], weights[counted]
        if len(x) == 0:
            return
        mean, centred = weighted_mean(x, weights)
        add_products(self.triangle, centred.mul_(weights.sqrt().to(centred)[:, None]))
        self._join(float(weights.sum()), mean, len(x))

    def merge(self, other: Moments) -> None:
        """Add the rows of another accumulator."""
        if other.rows:
            self.triangle += other.triangle
            self._join(other.weight, other.mean, other.rows)

    def _join(self, weight: float, mean: Float[Tensor, " n"], rows: int) -> None:
        total = self.weight + weight
        step = mean - self.mean
        self.triangle.addr_(step, step, alpha=self.weight * weight / total)
        self.mean += step * (weight / total)
        self.weight, self.rows = total, self.rows + rows

    @property
    def scatter(self) -> Float[Tensor, "n n"]:
        """Weighted sum of centred outer products, (n, n)."""
        return mirrored(self.triangle)

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """Scatter divided by the total weight (the maximum-likelihood form; torch.cov with correction=0)."""
        return self.scatter / max(self.weight, torch.finfo(torch.float64).tiny)

    def scaled(self, factor: float) -> Moments:
        """Return the same sample with every weight multiplied by a factor."""
        return Moments(self.weight * factor, self.mean.clone(), self.triangle * factor, self.rows)
