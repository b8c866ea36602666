"""Backward elimination of experts: what a token reads in place of an expert that is gone counts too.

Let p be the softmax of a router's logits over the experts that stay, z_te = g_t^T f_e(x_t) the product of a gradient at
the experts' weighted sum with the answer of an expert, and y_t = sum of a_te z_te with the weights a_t of the token's
experts: its largest p, over their sum where the router normalises. Without expert j, a token that reads it reads the
next one n instead, and the softmax is over the others:

    y_t' = (sum of p_te z_te over its experts - p_tj z_tj + p_tn z_tn) / (1 - p_tj)

or over the sum of p of the experts that it then reads; other tokens keep their experts. With y_t of the dense model,
the loss of a set of removed experts is 1/2 sum_t (y_t' - y_t)^2, in nats per input: the change of the output is exact,
and the KL divergence of that change is the quadratic form of the Fisher information, as everywhere.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from infoprune.ranking.eliminate import Elimination
from infoprune.statistics.routes import Routes, routing_weights
from infoprune.structure.site import Routing

TOKENS = 2048
"""Tokens of which the losses are added up at a time."""


def eliminate_experts(routes: Routes, routing: Routing) -> Elimination:
    """Remove experts greedily, the one first without which the set of all that are gone loses the least.

    Args:
        routes: Routes of the tokens.
        routing: How the router chooses.

    Returns:
        The order, and the increase of the loss with every removal; a larger set counts no less than a smaller one.
    """
    stays = torch.ones(routes.logits.shape[1], dtype=torch.bool, device=routes.logits.device)
    order, totals = [], [0.0]
    while stays.any():
        losses = torch.where(stays, losses_without(routes, routing, stays), torch.inf)
        expert = int(losses.argmin())
        stays[expert] = False
        order.append(expert)
        totals.append(max(totals[-1], float(losses[expert])))
    return Elimination(torch.tensor(order), torch.tensor(totals, dtype=torch.float64).diff())


def losses_without(routes: Routes, routing: Routing, stays: Bool[Tensor, " experts"]) -> Float[Tensor, " experts"]:
    """Return the loss in nats per input where only some experts stay, and of these one more goes.

    Args:
        routes: Routes of the tokens.
        routing: How the router chooses.
        stays: Which experts stay; the losses of the others mean nothing.
    """
    losses = torch.zeros(len(stays), dtype=torch.float64, device=stays.device)
    for start in range(0, len(routes.logits), TOKENS):
        logits, products = (each[start : start + TOKENS] for each in (routes.logits, routes.products))
        found = _outputs_without(logits.double(), products.double(), routing, stays)
        dense = _outputs(logits.double(), products.double(), routing)
        losses += (found - dense[..., None]).square().sum((0, 1)) / 2
    return losses


def _outputs(
    logits: Float[Tensor, "t experts"], products: Float[Tensor, "t directions experts"], routing: Routing
) -> Float[Tensor, "t directions"]:
    """Return y of the dense model."""
    weights = routing_weights(logits, routing, torch.ones_like(logits[0], dtype=torch.bool))
    return torch.einsum("te,tde->td", weights, products)


def _outputs_without(
    logits: Float[Tensor, "t experts"],
    products: Float[Tensor, "t directions experts"],
    routing: Routing,
    stays: Bool[Tensor, " experts"],
) -> Float[Tensor, "t directions experts"]:
    """Return y where only some experts stay, and of these one more goes, by the one that goes."""
    chances = logits.masked_fill(~stays, -torch.inf).softmax(-1)
    left = int(stays.sum())
    if left == 1:
        return torch.zeros_like(products)
    largest, ranked = chances.topk(min(routing.chosen + 1, left), dim=-1)
    read = torch.zeros_like(chances, dtype=torch.bool).scatter(-1, ranked[:, : routing.chosen], True)
    there_is_next = left > routing.chosen
    next_chance = largest[:, -1:] * there_is_next
    next_product = products.gather(-1, ranked[:, None, -1:].expand(-1, products.shape[1], 1)) * there_is_next
    weighted = chances[:, None] * products
    before = (weighted * read[:, None]).sum(-1, keepdim=True)
    numerator = before + read[:, None] * (next_chance[:, None] * next_product - weighted)
    # the second largest is no more than the sum of the others, whichever goes; differences may round to less
    if routing.normalised:
        sums = (chances * read).sum(-1, keepdim=True)
        denominator = (sums + read * (next_chance - chances)).clamp_min(largest[:, 1:2])
    else:
        denominator = (1 - chances).clamp_min(largest[:, 1:2])
    return routing.factor * numerator / denominator[:, None]
