"""Products: sums of products of rows, formed in float32 where the rows have no more, and added up in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

PANEL = 384
"""Columns of a panel of the lower triangle."""


def wide(x: Tensor) -> Tensor:
    """Return the tensor without gradient in float32, or in float64 if it has that.

    Rounding a product of centred rows to float32 changes a correlation by 10^-7. Every covariance gets a ridge of at
    least a thousandth of its mean diagonal before anything is solved.
    """
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))


def add_products(triangle: Float[Tensor, "n n"], x: Float[Tensor, "t n"]) -> None:
    """Add x^T x to the lower triangle, panel by panel: little more than half of the work of the full product."""
    with full_precision():
        for start in range(0, x.shape[1], PANEL):
            end = start + PANEL
            if x.dtype == triangle.dtype:
                triangle[start:end, :end].addmm_(x[:, start:end].T, x[:, :end])
            else:
                triangle[start:end, :end] += (x[:, start:end].T @ x[:, :end]).to(triangle.device)


def mirrored(triangle: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Return the symmetric matrix with this lower triangle."""
    found = triangle.tril()
    return found.add_(triangle.tril(-1).T)


def weighted_mean(
    x: Float[Tensor, "t n"], weights: Float[Tensor, " t"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "t n"]]:
    """Return the weighted mean in float64, and the rows minus that mean in their own precision.

    The mean is found in two steps, so that a large common offset costs no precision.

    Args:
        x: Rows.
        weights: Weights of the rows, with a positive sum.
    """
    with full_precision():
        share = (weights / weights.sum()).to(x)
        first = share @ x
        centred = x - first
        rest = share @ centred
        return first.to(weights) + rest.to(weights), centred.sub_(rest)


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices as such within the block, also where the user allows TF32 or bfloat16 for them."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
