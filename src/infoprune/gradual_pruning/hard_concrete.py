"""Hard concrete distribution: a number in [0, 1] that is exactly 0, or exactly 1, with positive probability."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1
"""The beta (temperature), gamma (low) and zeta (high) of the source."""
SOFTNESS = 0.8
"""Factor in the value of a gate after the sampling, as in CoFi's public code."""


def sample_gates(location: Float[Tensor, "*n"], noise: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    r"""Sample z = clamp(s (zeta - gamma) + gamma, 0, 1) with s = sigmoid((log u - log(1 - u) + log alpha) / beta).

    Args:
        location: Locations log alpha.
        noise: Numbers u, uniform in (0, 1).

    Source:
        C. Louizos, M. Welling, D. Kingma, *Learning sparse neural networks through L0 regularization*, ICLR 2018,
        section 2.
    """
    stretched = ((noise.log() - (1 - noise).log() + location) / TEMPERATURE).sigmoid() * (HIGH - LOW) + LOW
    return stretched.clamp(0, 1)


def open_probability(location: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return P(z > 0) = sigmoid(log alpha - beta log(-gamma / zeta)); their sum is the expected L0 norm."""
    return (location - TEMPERATURE * math.log(-LOW / HIGH)).sigmoid()


def settled(location: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return the final value of a gate that stays: sigmoid(0.8 log alpha / beta), above 0 whatever its location.

    Source:
        M. Xia, Z. Zhong, D. Chen, *Structured pruning learns compact and accurate models* (CoFi), ACL 2022, public
        code.
    """
    return (location / TEMPERATURE * SOFTNESS).sigmoid()


def sample_noise(count: int, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Return uniform numbers in [1e-6, 1 - 1e-6], so that their logarithms are finite."""
    return torch.rand(count, generator=generator).clamp(1e-6, 1 - 1e-6)
