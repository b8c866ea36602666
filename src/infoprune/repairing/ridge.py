"""Weighted ridge regression toward given coefficients, with a strength chosen on held-out inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.statistics.precision import exact
from infoprune.statistics.products import add_products, full_precision, mirrored, weighted_mean, wide

FOLDS = 4
"""One of so many texts is held out where a strength is chosen: that all are in turn gives no better models, for several
times the memory and the factorisations."""
PARTS = 3
"""Parts in which samples are summed: two that can be held out, one text of `FOLDS` each, and all other texts."""
MIXTURES = 64
ROWS = 1024
"""Rows of a product, of several batches where these are short."""
ROUNDING = 1e-9
GRID = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 100.0)

Samples = tuple[Tensor, Tensor, Tensor]
"""One batch of a regression: inputs (batch, length, n), targets (batch, length, o) and weights (batch, length)."""


@dataclass
class Sums:
    """Weighted sums of products of inputs (with a constant column) and targets; they add up over any split of samples.

    Args:
        xx: Products of inputs, (n + 1, n + 1) float64.
        xt: Products of inputs and targets, (n + 1, o) float64.
        tt: Weighted sum of squared targets.
    """

    xx: Float[Tensor, "m m"]
    xt: Float[Tensor, "m o"]
    tt: float

    @classmethod
    def empty(cls, n: int, o: int, device: torch.device) -> Sums:
        """Return the sums of no samples."""
        xx = torch.zeros(n + 1, n + 1, dtype=torch.float64, device=device)
        return cls(xx, torch.zeros(n + 1, o, dtype=torch.float64, device=device), 0.0)

    def update(self, x: Float[Tensor, "t n"], target: Float[Tensor, "t o"], weights: Float[Tensor, " t"]) -> None:
        """Add t samples to the lower triangle of `xx`, which `mirrored` completes."""
        if len(x) == 0:
            return
        x, weights = wide(x), exact(weights).to(self.xx.device)
        target = wide(target).to(torch.promote_types(x.dtype, target.dtype))
        x = x.to(target.dtype)
        total, root = weights.sum(), weights.sqrt().to(x)[:, None]
        x_mean, x = weighted_mean(x, weights)
        target_mean, target = weighted_mean(target, weights)
        x, target = x.mul_(root), target.mul_(root)
        one = x_mean.new_ones(1)
        means = torch.cat([x_mean, one])
        add_products(self.xx[:-1, :-1], x)
        self.xx.addr_(means, means, alpha=float(total))
        with full_precision():
            self.xt[:-1] += x.T @ target
        self.xt.addr_(means, target_mean, alpha=float(total))
        self.tt += float(target.square().sum(dtype=torch.float64) + total * target_mean.square().sum())

    def mixed(self, mixture: Float[Tensor, "o m"]) -> Sums:
        """Return the sums with targets t replaced by t @ mixture; `tt`, on which no choice depends, is set to 0."""
        return Sums(self.xx, self.xt @ mixture, 0.0)

    def error(self, weight: Float[Tensor, "o n"], bias: Float[Tensor, " o"]) -> float:
        """Return the weighted sum of squared residuals of a linear map on these samples."""
        full = torch.cat([weight, bias[:, None]], 1)
        return self.tt - 2 * float((full * self.xt.T).sum()) + float((full @ self.xx * full).sum())


def sums_by_part(samples: Iterable[Samples], starts: Iterable[int], anchor: Float[Tensor, "o n"]) -> list[Sums]:
    """Sum the samples of a regression in `PARTS` parts, of which the first ones can be held out.

    Args:
        samples: Samples of every batch; the first axis counts texts.
        starts: Number of the first text of every batch: a text's part depends on its number alone, not on the batches.
        anchor: Tensor with the number of outputs and inputs, and on the device, of the regression.
    """
    parts = [Sums.empty(anchor.shape[1], anchor.shape[0], anchor.device) for _ in range(PARTS)]
    waiting: list[list[Samples]] = [[] for _ in parts]
    for (x, target, weights), start in zip(samples, starts, strict=True):
        number = part_numbers(weights, start)
        for index, part in enumerate(parts):
            rows = (weights > 0) & (number == index)[:, None]
            waiting[index].append((x[rows], target[rows], weights[rows]))
            if sum(len(each) for _, _, each in waiting[index]) >= ROWS:
                part.update(*_joined(waiting[index]))
    for part, rest in zip(parts, waiting, strict=True):
        if rest:
            part.update(*_joined(rest))
        part.xx = mirrored(part.xx)
    return parts


def part_numbers(weights: Float[Tensor, "texts length"], start: int) -> Int[Tensor, " texts"]:
    """Return the part of every text of a batch, from the number of its first text."""
    numbers = (start + torch.arange(len(weights), device=weights.device)) % FOLDS
    return numbers.clamp_max(PARTS - 1)


def summed(parts: Sequence[Sums]) -> Sums:
    """Return the sums over several parts, at least one."""
    first, *others = parts
    found = Sums(first.xx.clone(), first.xt.clone(), first.tt)
    for each in others:
        found.xx += each.xx
        found.xt += each.xt
        found.tt += each.tt
    return found


def _joined(waiting: list[Samples]) -> Samples:
    """Return the waiting rows as one, and empty the list: few products of many rows are faster."""
    x, target, weights = (torch.cat(each) for each in zip(*waiting, strict=True))
    waiting.clear()
    return x, target, weights


def fit_ridge(
    parts: Sequence[Sums], anchor: Float[Tensor, "o n"], *, ridge: float | None, intercept: bool = True
) -> tuple[Float[Tensor, "o n"], Float[Tensor, " o"]]:
    """Fit the linear map with bias from the inputs to the targets, with a ridge penalty on the distance to `anchor`.

    Args:
        parts: Sums of the samples, as from `sums_by_part`.
        anchor: Coefficients toward which the penalty shrinks, (o, n).
        ridge: Strength as a fraction of the mean variance of the inputs; None chooses it from `GRID` on the
            first part that has samples, which is held out then.
        intercept: Whether to fit a bias; without one the bias is returned as zeros.

    Returns:
        Weight (o, n) and bias (o,), float64.
    """
    anchor = exact(anchor)
    if ridge is None:
        ridge = _chosen(parts, anchor, intercept)
    return Regression.of(summed(parts), anchor, intercept).solve(ridge)


def _chosen(parts: Sequence[Sums], anchor: Float[Tensor, "o n"], intercept: bool) -> float:
    """Return the strength from `GRID` with the smallest error on held-out texts, on random mixtures of the outputs.

    The error falls and then rises with the strength, so a descent from the middle of the grid finds the minimum with
    about half of the factorisations.
    """
    usable = [part for part in parts if float(part.xx[-1, -1]) > 0]
    if len(usable) < 2:
        return GRID[-1]
    mixture = _mixture(len(anchor), anchor.device)
    held_out = usable[0].mixed(mixture)
    others = Regression.of(summed(usable[1:]).mixed(mixture), mixture.T @ anchor, intercept)

    @cache
    def error(index: int) -> float:
        return held_out.error(*others.solve(GRID[index]))

    return GRID[descend(error, len(GRID))]


def descend(error: Callable[[int], float], count: int) -> int:
    """Return the index of the minimum of a function that falls and then rises, from the middle on.

    Args:
        error: Function of an index.
        count: Number of indices.

    Examples:
        >>> descend(lambda index: abs(index - 1), 9)
        1
    """
    at, below = count // 2, -1
    while at != below:
        below = at
        at = min((each for each in (at, at - 1, at + 1) if 0 <= each < count), key=error)
    return at


def _mixture(outputs: int, device: torch.device) -> Float[Tensor, "o m"]:
    """Return random mixtures of outputs: they keep the expected squared error, and a few of them rank the strengths."""
    if outputs <= MIXTURES:
        return torch.eye(outputs, dtype=torch.float64, device=device)
    sampled = torch.randn(outputs, MIXTURES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixture: Tensor = sampled.to(device) / MIXTURES**0.5
    return mixture


@dataclass(frozen=True)
class Regression:
    """What the solutions of a regression for several strengths share.

    Args:
        anchor: Coefficients toward which the penalty shrinks, (o, n).
        xx: Covariance of the inputs, (n, n).
        right_side: Covariance of the inputs and what the anchor leaves of the targets, (n, o).
        x_mean: Mean of the inputs; zeros without a bias.
        t_mean: Mean of the targets; zeros without a bias.
        size: Mean square of an input.
    """

    anchor: Float[Tensor, "o n"]
    xx: Float[Tensor, "n n"]
    right_side: Float[Tensor, "n o"]
    x_mean: Float[Tensor, " n"]
    t_mean: Float[Tensor, " o"]
    size: float

    @classmethod
    def of(cls, sums: Sums, anchor: Float[Tensor, "o n"], intercept: bool) -> Regression:
        """Return the regression of some samples."""
        total = float(sums.xx[-1, -1])
        x_mean, t_mean = sums.xx[-1, :-1] / total, sums.xt[-1] / total
        if not intercept:
            x_mean, t_mean = torch.zeros_like(x_mean), torch.zeros_like(t_mean)
        xx = (sums.xx[:-1, :-1] / total).addr_(x_mean, x_mean, alpha=-1)
        right_side = (sums.xt[:-1] / total).addr_(x_mean, t_mean, alpha=-1).addmm_(xx, anchor.T, alpha=-1)
        size = float(sums.xx.diagonal()[:-1].mean()) / total
        return cls(anchor, xx, right_side, x_mean, t_mean, size)

    def solve(self, ridge: float) -> tuple[Float[Tensor, "o n"], Float[Tensor, " o"]]:
        """Solve W = W_0 + (S_tx - W_0 S_xx)(S_xx + ridge mean(diag S_xx) 1)^-1, of centred sums if there is a bias."""
        level = float(self.xx.diagonal().mean())
        moves = level > ROUNDING * self.size  # a smaller variance is the rounding error of equal inputs
        factor = self.xx.clone().mT  # a symmetric matrix in the order of LAPACK, which then works in place
        factor.diagonal().add_(ridge * level if moves else max(self.size, 1.0))
        torch.linalg.cholesky(factor, out=factor)
        half = torch.linalg.solve_triangular(factor, self.right_side, upper=False)
        weight = self.anchor + torch.linalg.solve_triangular(factor.mT, half, upper=True).T
        return weight, self.t_mean - weight @ self.x_mean
