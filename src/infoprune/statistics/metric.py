"""Metric: what a change of a reader's output costs, from its Fisher information."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
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


def metric_root(metric: Float[Tensor, "o o"]) -> tuple[Float[Tensor, "o o"], Float[Tensor, "o o"]]:
    """Return the symmetric root of a positive definite metric, scaled to a mean diagonal of one, and its inverse."""
    lengths, axes = torch.linalg.eigh(metric / metric.diagonal().mean())
    root = lengths.sqrt()
    return (axes * root) @ axes.T, (axes / root) @ axes.T
