"""Active: the parameters that a token reads of a model with experts."""

from __future__ import annotations

from transformers import PreTrainedModel

from infoprune.measuring.measure import count_parameters
from infoprune.structure.sites import find_sites


def count_active_parameters(model: PreTrainedModel) -> int | None:
    """Count the parameters that a token reads; None for a model without experts.

    A token reads all routers, and of every layer as many experts as its router chooses.

    Args:
        model: A model of a supported family.
    """
    routings = [site.routing for site in find_sites(model) if site.routing is not None]
    if not routings:
        return None
    active = count_parameters(model)
    for routing in routings:
        for name in routing.parameters:
            if not name.startswith(f"{routing.router}."):
                parameter = model.get_parameter(name)
                active -= (len(parameter) - routing.chosen) * parameter[0].numel()
    return active
