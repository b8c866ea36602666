"""Experts: the routing of a layer by the table of its family, and the neurons inside its experts."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from infoprune.errors import InputError
from infoprune.families import Experts, Neurons
from infoprune.structure.site import ExpertNeurons, Routing, Site
from infoprune.structure.slices import Slice


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


def neurons_of(model: nn.Module, neurons: Neurons, prefix: str) -> ExpertNeurons:
    """Return where the neurons inside the experts of a layer lie.

    Args:
        model: The model.
        neurons: Its family's table of them.
        prefix: Path of the layer, with a dot at its end.

    Raises:
        InputError: The sizes of the parameters do not fit the table.
    """
    read = model.get_parameter(prefix + neurons.read.parameter)
    units = read.shape[1 + neurons.read.axis]
    written = []
    for entries in neurons.written:
        name, length = (
            prefix + entries.parameter,
            model.get_parameter(prefix + entries.parameter).shape[1 + entries.axis],
        )
        share, rest = divmod(length, units * sum(entries.parts))
        if rest or share == 0:
            raise InputError(
                f"{name} has {length} entries for {units} neurons of an expert, expected a multiple of "
                f"{units * sum(entries.parts)}; this variant of the model type is not supported"
            )
        written.append((Slice(name, tuple(part * share for part in entries.parts)), entries.axis))
    return ExpertNeurons(len(read), tuple(written), (prefix + neurons.read.parameter, neurons.read.axis))


def expert_reader(model: nn.Module, site: Site, expert: int) -> Float[Tensor, "o units"]:
    """Return the weights by which an expert reads its neurons; they share memory with the parameter."""
    if site.neurons is None:
        raise ValueError(f"{site.name} has no neurons inside experts")
    path, axis = site.neurons.read
    return model.get_parameter(path).detach()[expert].movedim(axis, -1)
