"""Pairs: the experts of a layer and their neurons, of which each costs the less, the fewer of the other stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.errors import InputError
from infoprune.kept_neurons import EXPERT_NEURONS, EXPERTS, experts_beside
from infoprune.structure.site import Site


@dataclass(frozen=True)
class Pair:
    """Sites of the experts of a layer and of their neurons.

    Args:
        experts: Name of the site of the experts.
        neurons: Name of that of their neurons.
        shares: (experts + 1,): share of the cost of the neurons where 0, 1, ... experts stay.
    """

    experts: str
    neurons: str
    shares: Float[Tensor, " _"]

    def more(
        self, curves: Mapping[str, Float[Tensor, " _"]], experts: Sequence[int], neurons: Sequence[int]
    ) -> Float[Tensor, "experts neurons"]:
        """Return what a layer costs beside the sum of both sites' costs, each of which counts all of the other.

        Args:
            curves: Cost of 0, 1, ... units by site name.
            experts: Numbers of experts that stay.
            neurons: Numbers of neurons that each of them keeps.
        """
        curve = curves[self.neurons]
        return (1 - self.shares[list(experts), None]) * (curve[-1] - curve[list(neurons)])


def pairs_of(sites: Sequence[Site], quantity: str) -> tuple[Pair, ...]:
    """Return the pairs among some sites.

    A model has as many neurons of a layer as experts, and a token reads those of the experts that it chooses.

    Raises:
        InputError: There are some, and the quantity is a time.
    """
    whole = {site.name: site for site in sites if site.whole_experts}
    found = []
    for name in (site.name for site in sites if site.neurons is not None):
        experts = whole.get(experts_beside(name))
        if experts is None or experts.routing is None:
            continue
        if quantity == "latency":
            raise InputError(
                f"a budget of latency was given for {EXPERTS} and {EXPERT_NEURONS}, expected one of them: times are "
                f"measured for one at a time; pass `budget=flops=0.8`, or leave {EXPERT_NEURONS} out of `structures`"
            )
        most = min(experts.routing.chosen, experts.units) if quantity == "flops" else experts.units
        shares = torch.arange(experts.units + 1, dtype=torch.float64).clamp(max=most) / most
        found.append(Pair(experts.name, name, shares))
    return tuple(found)
