"""Routes: which experts every token reads, and what their answers do to the prediction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from infoprune.structure.site import Routing


@dataclass(frozen=True)
class Routes:
    """Which experts every token reads, and what their answers do to the prediction.

    Args:
        logits: Logits of the router, (tokens, experts) float32.
        products: Products g^T f_e of the gradients g that arrive at the experts' weighted sum, one for each direction
            of the Fisher information, and the answer f_e of each expert, whether the token reads it or not, over the
            root of the number of inputs, (tokens, directions, experts) float32: where the weights of a token's experts
            change by d, half of the sum of (products d)^2 is, to leading order, the KL divergence in nats per input.
        lengths: Sum over the tokens that read an expert of the weight times the length of its answer, (experts,)
            float64.
        counts: Number of tokens that read an expert, (experts,) float64.
    """

    logits: Float[Tensor, "t experts"]
    products: Float[Tensor, "t directions experts"]
    lengths: Float[Tensor, " experts"]
    counts: Float[Tensor, " experts"]


def routing_weights(
    logits: Float[Tensor, "t experts"], routing: Routing, stays: Bool[Tensor, " experts"]
) -> Float[Tensor, "t experts"]:
    """Return the weights with which tokens read the experts that stay; zero for all others.

    Args:
        logits: Logits of the router.
        routing: How the router chooses.
        stays: Which experts stay.
    """
    chances = logits.masked_fill(~stays, -torch.inf).softmax(-1)
    largest, chosen = chances.topk(min(routing.chosen, int(stays.sum())), dim=-1)
    if routing.normalised:
        largest = largest / largest.sum(-1, keepdim=True)
    return torch.zeros_like(chances).scatter(-1, chosen, routing.factor * largest)
