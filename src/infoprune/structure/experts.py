"""Experts: the routing of a layer by the table of its family."""

from __future__ import annotations

from torch import nn

from infoprune.families import Experts
from infoprune.structure.site import Routing


def routing_of(model: nn.Module, experts: Experts, prefix: str) -> Routing:
    """Return how tokens reach the experts of a layer.

    Args:
        model: The model.
        experts: Its family's table of them.
        prefix: Path of the layer, with a dot at its end.
    """

    def value(of: float | str) -> float:
        if not isinstance(of, str):
            return of
        path, _, attribute = of.partition(":")
        return float(getattr(model.get_submodule(prefix + path), attribute))

    return Routing(
        router=prefix + experts.router,
        parameters=tuple(prefix + name for name in experts.parameters),
        outputs=tuple((prefix + name, axis) for name, axis in experts.outputs),
        chosen=int(value(experts.chosen)),
        normalised=bool(value(experts.normalised)),
        factor=value(experts.factor),
    )
