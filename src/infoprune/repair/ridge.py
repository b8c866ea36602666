"""Weighted ridge regression toward given coefficients, its strength chosen by cross-validation over inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.statistics.precision import exact

MIXTURES = 64
ROUNDING = 1e-9
GRID = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 100.0)


@dataclass
class Sums:
    """Weighted products of inputs (with a constant column) and targets; they add up over any split of the rows.

    Args:
        xx: (n + 1, n + 1) float64.
        xt: (n + 1, o) float64.
        tt: weighted sum of squared targets.
    """

    xx: Float[Tensor, "m m"]
    xt: Float[Tensor, "m o"]
    tt: float

    @classmethod
    def empty(cls, n: int, o: int, device: torch.device) -> Sums:
        """Sums of no rows."""
        xx = torch.zeros(n + 1, n + 1, dtype=torch.float64, device=device)
        return cls(xx, torch.zeros(n + 1, o, dtype=torch.float64, device=device), 0.0)

    def update(self, x: Float[Tensor, "t n"], target: Float[Tensor, "t o"], weights: Float[Tensor, " t"]) -> None:
        """Adds t rows."""
        x, target = exact(x), exact(target)
        root = exact(weights).to(x.device).sqrt()[:, None]
        x, target = torch.cat([x, torch.ones_like(root)], 1) * root, target * root
        self.xx.addmm_(x.T, x)
        self.xt.addmm_(x.T, target)
        self.tt += float(target.square().sum())

    def plus(self, other: Sums, sign: int = 1) -> Sums:
        """Sum (or difference) of two."""
        return Sums(self.xx + sign * other.xx, self.xt + sign * other.xt, self.tt + sign * other.tt)

    def mixed(self, mixture: Float[Tensor, "o m"]) -> Sums:
        """The same rows with targets t replaced by t @ mixture; `tt`, which no choice depends on, is left out."""
        return Sums(self.xx, self.xt @ mixture, 0.0)

    def error(self, weight: Float[Tensor, "o n"], bias: Float[Tensor, " o"]) -> float:
        """Weighted sum of squared residuals of a linear map on these rows."""
        full = torch.cat([weight, bias[:, None]], 1)
        return self.tt - 2 * float((full * self.xt.T).sum()) + float((full @ self.xx * full).sum())


def sums_by_fold(
    rows: Iterable[tuple[Tensor, Tensor, Tensor]],
    starts: Iterable[int],
    anchor: Float[Tensor, "o n"],
    folds: int,
) -> list[Sums]:
    """The rows of a regression, added up in parts for cross-validation.

    Args:
        rows: of every batch the inputs (batch, length, n), targets (batch, length, o) and weights (batch, length); the
            first axis counts texts.
        starts: of every batch, the number of its first text: the texts are dealt out to the folds by their numbers,
            however they are cut into batches.
        anchor: says how many inputs and outputs there are, and where.
        folds: how many parts.
    """
    parts = [Sums.empty(anchor.shape[1], anchor.shape[0], anchor.device) for _ in range(folds)]
    for (x, target, weights), start in zip(rows, starts, strict=True):
        for fold, part in enumerate(parts):
            members = slice((fold - start) % folds, None, folds)
            w = weights[members].reshape(-1)
            real = w > 0
            part.update(x[members].flatten(0, -2)[real], target[members].flatten(0, -2)[real], w[real])
    return parts


def fit_ridge(
    parts: Sequence[Sums], anchor: Float[Tensor, "o n"], *, ridge: float | None, intercept: bool = True
) -> tuple[Float[Tensor, "o n"], Float[Tensor, " o"]]:
    """The linear map with bias that takes x to the targets, pulled toward `anchor`; float64.

    Args:
        parts: the rows, from `sums_by_fold`.
        anchor: coefficients to stay near.
        ridge: strength, as a fraction of the mean variance of the inputs; None chooses it from `GRID` by
            cross-validation over the parts.
        intercept: whether there is a bias; without one it comes back as zeros.
    """
    anchor, whole = exact(anchor), parts[0]
    for part in parts[1:]:
        whole = whole.plus(part)
    if ridge is None:
        ridge = _cross_validated(parts, whole, anchor, intercept)
    return solve_ridge(whole, anchor, ridge, intercept)


def _cross_validated(parts: Sequence[Sums], whole: Sums, anchor: Float[Tensor, "o n"], intercept: bool) -> float:
    """The strength from `GRID` with the least error on held-out texts, measured on random mixtures of the outputs."""
    usable = [part for part in parts if float(part.xx[-1, -1]) > 0]
    if len(usable) < 2:
        return GRID[-1]
    mixture = _mixture(len(anchor), anchor.device)
    anchor = mixture.T @ anchor
    rests = [(part.mixed(mixture), whole.plus(part, -1).mixed(mixture)) for part in usable]
    errors = [sum(part.error(*solve_ridge(rest, anchor, ridge, intercept)) for part, rest in rests) for ridge in GRID]
    return GRID[min(range(len(GRID)), key=errors.__getitem__)]


def _mixture(outputs: int, device: torch.device) -> Float[Tensor, "o m"]:
    """Random mixtures keep the expected squared error of all outputs, and few of them say which ridge is best."""
    if outputs <= MIXTURES:
        return torch.eye(outputs, dtype=torch.float64, device=device)
    drawn = torch.randn(outputs, MIXTURES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixture: Tensor = drawn.to(device) / MIXTURES**0.5
    return mixture


def solve_ridge(
    sums: Sums, anchor: Float[Tensor, "o n"], ridge: float, intercept: bool = True
) -> tuple[Float[Tensor, "o n"], Float[Tensor, " o"]]:
    """Normal equations W = W_0 + (S_tx - W_0 S_xx)(S_xx + ridge mean(diag S_xx) 1)^-1, centred if there is a bias."""
    total = float(sums.xx[-1, -1])
    x_mean, t_mean = sums.xx[-1, :-1] / total, sums.xt[-1] / total
    if not intercept:
        x_mean, t_mean = torch.zeros_like(x_mean), torch.zeros_like(t_mean)
    xx = sums.xx[:-1, :-1] / total - torch.outer(x_mean, x_mean)
    xt = sums.xt[:-1] / total - torch.outer(x_mean, t_mean)
    level = float(xx.diagonal().mean())
    size = float(sums.xx.diagonal()[:-1].mean()) / total
    moves = level > ROUNDING * size  # below that the variance is what rounding has left of equal inputs
    strength = ridge * level if moves else max(size, 1.0)
    identity = torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
    factor = torch.linalg.cholesky(xx + strength * identity)
    weight = anchor + torch.cholesky_solve(xt - xx @ anchor.T, factor).T
    return weight, t_mean - weight @ x_mean
