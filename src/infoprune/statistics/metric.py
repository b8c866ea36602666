"""Metric: what a change of a reader's output costs, from its Fisher information."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

TAU = 0.1
"""Ridge of the metric, as a fraction of its mean diagonal."""


def fisher_metric(fisher: Float[Tensor, "o o"], tau: float) -> Float[Tensor, "o o"]:
    """Return G + tau mean(diag G) 1, in nats; the identity where tau is infinite or G is zero."""
    level = float(fisher.diagonal().mean())
    identity = torch.eye(len(fisher), dtype=fisher.dtype, device=fisher.device)
    if math.isinf(tau) or level <= 0:
        return identity
    return fisher + tau * level * identity


def reader_metric(
    fisher: Float[Tensor, "o o"], kept: Int[Tensor, " k"] | None, scale: Float[Tensor, " k"] | None
) -> Float[Tensor, "k k"]:
    """Return the metric of what a reader adds to the residual.

    Args:
        fisher: Fisher information at the reader's output.
        kept: Outputs that are left; None for all.
        scale: Factors by which the outputs are multiplied before they are added, see `Site`; None for ones.
    """
    if kept is not None:
        kept = kept.to(fisher.device)
        fisher = fisher[kept[:, None], kept]
    if scale is not None:
        factors = torch.where(scale == 0, torch.inf, scale).to(fisher)
        fisher = fisher / factors[:, None] / factors
    return fisher_metric(fisher, TAU)


def metric_root(metric: Float[Tensor, "o o"]) -> tuple[Float[Tensor, "o o"], Float[Tensor, "o o"]]:
    """Return the symmetric root of a positive definite metric, scaled to a mean diagonal of one, and its inverse."""
    lengths, axes = torch.linalg.eigh(metric / metric.diagonal().mean())
    root = lengths.sqrt()
    return (axes * root) @ axes.T, (axes / root) @ axes.T
