"""Recorder of routes: what the routers and experts of a model do with the tokens of a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from infoprune.processes import add_up, of_all
from infoprune.statistics.products import wide
from infoprune.statistics.routes import Routes, routing_weights
from infoprune.statistics.statistics import SiteStatistics
from infoprune.structure.offload import present
from infoprune.structure.site import Routing, Site


def router_logits(model: nn.Module, site: Site, x: Float[Tensor, "t n"]) -> Float[Tensor, "t experts"]:
    """Return the logits of a site's router, in float32 or float64."""
    path = routing_at(site).router
    router = model.get_submodule(path)
    with present(model, path):
        weight, bias = model.get_parameter(f"{path}.weight"), router._parameters.get("bias")
        return wide(functional.linear(x, weight, bias))


def answer_of_expert(model: nn.Module, site: Site, x: Float[Tensor, "t n"], expert: int) -> Float[Tensor, "t n"]:
    """Return what one expert answers to tokens, with weight 1."""
    module = model.get_submodule(site.reader)
    chosen = torch.full((len(x), 1), expert, dtype=torch.long, device=x.device)
    with present(model, site.reader):
        found: Tensor = module.forward(x, chosen, torch.ones_like(x[:, :1]))  # not its hooks, which belong to passes
    return found


@dataclass(frozen=True)
class _Parts:
    """Routes of some tokens, batch by batch, to which those of more tokens are added."""

    logits: list[Tensor]
    products: list[Tensor]
    lengths: Tensor
    counts: Tensor


class RouteRecorder:
    """Accumulator of the routes of all sites with experts, batch by batch; without such sites it costs nothing."""

    def __init__(self) -> None:
        self._parts: dict[str, _Parts] = {}

    @torch.no_grad()
    def add(
        self,
        model: nn.Module,
        site: Site,
        x: Float[Tensor, "t n"],
        gradients: Sequence[Float[Tensor, "t n"]],
        real: Bool[Tensor, " t"],
    ) -> None:
        """Add the tokens of one batch.

        Args:
            model: The model.
            site: Site with experts.
            x: What its experts read.
            gradients: Gradients at their weighted sum, one for each direction.
            real: Which tokens are not padding.
        """
        x, routing = x[real], routing_at(site)
        arrived = torch.stack([each[real] for each in gradients], 1)
        logits = router_logits(model, site, x)
        weights = routing_weights(logits, routing, torch.ones_like(logits[0], dtype=torch.bool))
        products = arrived.new_zeros(*arrived.shape[:2], site.units)
        lengths = torch.zeros(site.units, dtype=torch.float64, device=x.device)
        for expert in range(site.units):
            answer = wide(answer_of_expert(model, site, x, expert))
            products[..., expert] = torch.einsum("tdn,tn->td", arrived, answer.to(arrived))
            lengths[expert] = (weights[:, expert] * answer.norm(dim=-1)).sum(dtype=torch.float64)
        counts = (weights > 0).sum(0, dtype=torch.float64)
        if site.name not in self._parts:
            self._parts[site.name] = _Parts([], [], torch.zeros_like(lengths), torch.zeros_like(counts))
        parts = self._parts[site.name]
        parts.logits.append(logits.float())
        parts.products.append(products.flatten(1).float())
        parts.lengths.add_(lengths)
        parts.counts.add_(counts)

    def added(self, gathered: Mapping[str, SiteStatistics], inputs: int) -> dict[str, SiteStatistics]:
        """Return the statistics with the routes, which are those of all processes."""
        return {name: replace(each, routes=self._routes(name, inputs)) for name, each in gathered.items()}

    def _routes(self, name: str, inputs: int) -> Routes | None:
        parts = self._parts.get(name)
        if parts is None:
            return None
        logits, rows = torch.cat(of_all(parts.logits)), torch.cat(of_all(parts.products))
        add_up(parts.lengths, parts.counts)
        products = rows.reshape(len(rows), -1, logits.shape[1])
        return Routes(logits, products / inputs**0.5, parts.lengths, parts.counts)


def routing_at(site: Site) -> Routing:
    """Return how the router of a site with experts chooses."""
    if site.routing is None:
        raise ValueError(f"{site.name} has no router, expected a site with experts")
    return site.routing
