"""Gauss-Newton: one damped step in what writes neurons, toward what their reader should say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infoprune.processes import add_up
from infoprune.repair.bend import Bend, slopes_of
from infoprune.statistics.precision import exact

ITERATIONS = 8
"""Of conjugate gradients in a step; more buy little."""

Weights = Float[Tensor, "parts m n"]
"""Of what writes the m neurons of a layer: one part, or a gate and what it gates; a bias is the last column."""


@dataclass(frozen=True)
class Tokens:
    """Some of the tokens of a regression: what the neurons' parts read, what the reader should say, and weights."""

    x: Float[Tensor, "t n"]
    target: Float[Tensor, "t o"]
    weights: Float[Tensor, " t"]

    def every(self, stride: int) -> Tokens:
        """Every so many of them."""
        return Tokens(*(each[::stride].contiguous() for each in (self.x, self.target, self.weights)))


def gauss_newton(
    weights: Weights,
    anchor: Weights,
    reader: tuple[Float[Tensor, "o m"], Float[Tensor, " o"]],
    bend: Bend,
    tokens: Sequence[Tokens],
    damping: float,
    inputs: int,
    stride: int = 1,
) -> Weights:
    """What writes the neurons, one damped Gauss-Newton step on, the reader being given.

    Args:
        weights: where the step begins.
        anchor: what the damping pulls toward.
        reader: weight and bias.
        bend: from what the parts write to what the neurons say.
        tokens: of all processes together, in any number of chunks.
        damping: a fraction of the mean of J^T J's diagonal, that of the biases left out.
        inputs: columns of the weights that are no bias.
        stride: J^T J is of every so many tokens alone, times as many; the right-hand side is of all.
    """
    weight, bias = (each.to(weights) for each in reader)
    gram, short = weight.T @ weight, weight.shape[1] < 2 * weight.shape[0]
    some: list[tuple[Tokens, list[Tensor]]] = []
    pull = torch.zeros(weights.shape, dtype=torch.float64, device=weights.device)
    squares, spread = pull.new_zeros(weights.shape[:2]), pull.new_zeros(weights.shape[2], weights.shape[2])
    mass, part_mass = pull.new_zeros(()), pull.new_zeros(())
    for each in tokens:
        hidden, slopes = slopes_of(bend, written(weights, each.x))
        wanted = (each.target - functional.linear(hidden, weight, bias)) * each.weights[:, None]
        for part, slope in enumerate(slopes):
            pull[part] += exact((wanted @ weight * slope).T @ each.x)
            squares[part] += exact((slope.square() * each.weights[:, None]).sum(0))
        spread += exact((each.x * each.weights[:, None]).T @ each.x)
        mass += exact(each.weights.sum())
        part_mass += exact(each.weights[::stride].sum())
        some.append((each.every(stride), [slope[::stride].contiguous() for slope in slopes]))
    add_up(pull, squares, spread, mass, part_mass)
    lengths, axes = torch.linalg.eigh(spread / mass)
    strength = exact(gram.diagonal()) * squares / mass
    level = damping * float(strength.mean()) * float(spread.diagonal()[:inputs].mean() / mass)
    if level <= 0:
        return weights
    scale = strength[..., None] * lengths.clamp_min(0) + level

    def alike(residual: Tensor) -> Tensor:
        """The inverse of what J^T J would be if neurons and slopes knew nothing of one another."""
        solved: Tensor = (residual @ axes / scale) @ axes.T
        return solved

    def curvature(direction: Tensor) -> Tensor:
        found, narrow = torch.zeros_like(pull), direction.to(weights)
        for each, slopes in some:
            moved = torch.stack([slope * (each.x @ part.T) for slope, part in zip(slopes, narrow, strict=True)]).sum(0)
            moved = (moved @ gram if short else moved @ weight.T @ weight) * each.weights[:, None]
            for part, slope in enumerate(slopes):
                found[part] += exact((moved * slope).T @ each.x)
        add_up(found)
        return found / part_mass + level * direction

    gradient = pull / mass + level * exact(anchor - weights)
    return weights + _conjugate_gradients(curvature, gradient, alike).to(weights)


def written(weights: Weights, x: Float[Tensor, "... n"]) -> list[Tensor]:
    """What each part writes."""
    return [functional.linear(x, part) for part in weights]


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor], wanted: Tensor, precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """An approximate solution of apply(x) = wanted, from zero."""
    found, residual = torch.zeros_like(wanted), wanted
    near = precondition(residual)
    direction, size = near, float((residual * near).sum())
    for _ in range(ITERATIONS):
        if size <= 0:
            break
        image = apply(direction)
        stride = size / float((direction * image).sum())
        found, residual = found + stride * direction, residual - stride * image
        near = precondition(residual)
        size, before = float((residual * near).sum()), size
        direction = near + size / before * direction
    return found
