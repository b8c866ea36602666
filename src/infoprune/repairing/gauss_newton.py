"""Gauss-Newton: one damped step for the weights that write neurons, toward the targets of their reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infoprune.processes import add_up
from infoprune.repairing.activation import ActivationFunction, slopes_of
from infoprune.statistics.precision import exact

ITERATIONS = 6
"""Conjugate gradient iterations in a step; more help little on new texts."""

Weights = Float[Tensor, "parts m n"]
"""Weights that write the m neurons of a layer: one part, or a gate and what it gates; a bias is the last column."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of a regression: inputs of the neurons' parts, targets of their reader, and weights."""

    x: Float[Tensor, "t n"]
    target: Float[Tensor, "t o"]
    weights: Float[Tensor, " t"]

    def every(self, stride: int) -> Tokens:
        """Return every `stride`-th of the tokens."""
        return Tokens(*(each[::stride].contiguous() for each in (self.x, self.target, self.weights)))


def gauss_newton(
    weights: Weights,
    anchor: Weights,
    reader: tuple[Float[Tensor, "o m"], Float[Tensor, " o"]],
    activation: ActivationFunction,
    tokens: Sequence[Tokens],
    damping: float,
    inputs: int,
    stride: int = 1,
    iterations: int | None = None,
) -> Weights:
    """Return the weights that write the neurons after one damped Gauss-Newton step at a fixed reader.

    Args:
        weights: Weights before the step.
        anchor: Weights toward which the damping regularises.
        reader: Weight and bias of the reader.
        activation: Function from the outputs of the parts to the neurons.
        tokens: Tokens of this process, in any number of chunks; the step is that for the tokens of all processes.
        damping: Damping as a fraction of the mean of J^T J's diagonal, without the entries of biases.
        inputs: Number of columns of the weights that are not the bias.
        stride: J^T J is estimated from every `stride`-th token; the right-hand side is the sum over all tokens.
        iterations: Conjugate gradient iterations; None for `ITERATIONS`.
    """
    weight, bias = (each.to(weights) for each in reader)
    gram, short = weight.T @ weight, weight.shape[1] < 2 * weight.shape[0]
    some: list[tuple[Tokens, list[Tensor]]] = []
    right_side = torch.zeros(weights.shape, dtype=torch.float64, device=weights.device)
    squares, spread = right_side.new_zeros(weights.shape[:2]), right_side.new_zeros(weights.shape[2], weights.shape[2])
    mass, part_mass = right_side.new_zeros(()), right_side.new_zeros(())
    for each in tokens:
        hidden, slopes = slopes_of(activation, written(weights, each.x))
        wanted = (each.target - functional.linear(hidden, weight, bias)) * each.weights[:, None]
        for part, slope in enumerate(slopes):
            right_side[part] += (wanted @ weight).mul_(slope).T @ each.x
            squares[part] += exact((slope.square() * each.weights[:, None]).sum(0))
        spread += (each.x * each.weights[:, None]).T @ each.x
        mass += exact(each.weights.sum())
        part_mass += exact(each.weights[::stride].sum())
        some.append((each.every(stride), [slope[::stride].contiguous() for slope in slopes]))
    add_up(right_side, squares, spread, mass, part_mass)
    lengths, axes = torch.linalg.eigh(spread / mass)
    strength = exact(gram.diagonal()) * squares / mass
    level = damping * float(strength.mean()) * float(spread.diagonal()[:inputs].mean() / mass)
    if level <= 0:
        return weights
    scale = strength[..., None] * lengths.clamp_min(0) + level

    def approximate_inverse(residual: Tensor) -> Tensor:
        """Apply the inverse that J^T J would have if neurons and slopes were independent of one another."""
        solved: Tensor = (residual @ axes / scale) @ axes.T
        return solved

    def curvature(direction: Tensor) -> Tensor:
        found, rounded = torch.zeros_like(right_side), direction.to(weights)
        for each, slopes in some:
            written_by = [(each.x @ part.T).mul_(slope) for slope, part in zip(slopes, rounded, strict=True)]
            moved = written_by[0] if len(written_by) == 1 else torch.stack(written_by).sum(0)
            moved = (moved @ gram if short else moved @ weight.T @ weight).mul_(each.weights[:, None])
            for part, slope in enumerate(slopes):
                found[part] += (moved * slope).T @ each.x
        add_up(found)
        return found / part_mass + level * direction

    gradient = right_side / mass + level * exact(anchor - weights)
    return weights + _conjugate_gradients(curvature, gradient, approximate_inverse, iterations or ITERATIONS).to(
        weights
    )


def written(weights: Weights, x: Float[Tensor, "... n"]) -> list[Tensor]:
    """Return the outputs of each part."""
    return [functional.linear(x, part) for part in weights]


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor], wanted: Tensor, precondition: Callable[[Tensor], Tensor], iterations: int
) -> Tensor:
    """Solve apply(x) = wanted approximately, from x = 0."""
    found, residual = torch.zeros_like(wanted), wanted
    near = precondition(residual)
    direction, size = near, float((residual * near).sum())
    for _ in range(iterations):
        if size <= 0:
            break
        image = apply(direction)
        stride = size / float((direction * image).sum())
        found, residual = found + stride * direction, residual - stride * image
        near = precondition(residual)
        size, before = float((residual * near).sum()), size
        direction = near + size / before * direction
    return found
