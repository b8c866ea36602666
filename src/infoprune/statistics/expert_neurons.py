"""Expert neurons: what the neurons inside an expert say to the tokens that read it."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from infoprune.statistics.products import wide
from infoprune.statistics.record_routes import routing_at
from infoprune.statistics.taps import ReaderCall
from infoprune.structure.offload import present
from infoprune.structure.site import Site


def neurons_of_expert(model: nn.Module, site: Site, x: Float[Tensor, "t n"], expert: int) -> Float[Tensor, "t units"]:
    """Return the neurons of one expert for some tokens.

    The module of the experts runs with columns of the identity in place of the weights that read the neurons, so that
    its answer is the neurons themselves, whatever function writes them.

    Args:
        model: The model.
        site: Site of the neurons.
        x: What the expert reads.
        expert: Its number.
    """
    if site.neurons is None:
        raise ValueError(f"{site.name} has no neurons inside experts")
    module, (path, axis) = model.get_submodule(site.reader), site.neurons.read
    chosen = torch.full((len(x), 1), expert, dtype=torch.long, device=x.device)
    found = []
    with present(model, site.reader), torch.no_grad():
        read = model.get_parameter(path)
        outputs = read[0].numel() // site.units
        biases = {name: model.get_parameter(name) for name, _ in routing_at(site).outputs if name != path}
        silent = {_within(name, site): nn.Parameter(torch.zeros_like(each)) for name, each in biases.items()}
        alone = copy.copy(module)  # shares all but its table of parameters
        for first in range(0, site.units, outputs):
            count = min(outputs, site.units - first)
            columns = read.new_zeros(1, *read.shape[1:])
            columns.movedim(1 + axis, -1)[0, range(count), range(first, first + count)] = 1
            parameters = {**module._parameters, **silent, _within(path, site): nn.Parameter(columns.expand_as(read))}
            vars(alone)["_parameters"] = parameters
            # of the class: what an instance has in its place runs the module that it was copied from
            found.append(type(module).forward(alone, x, chosen, torch.ones_like(x[:, :1]))[:, :count])
    return torch.cat(found, 1)


def weighted_neurons(
    model: nn.Module, site: Site, call: ReaderCall
) -> tuple[Int[Tensor, " t"], Float[Tensor, "t units"]]:
    """Return the tokens that read an expert in one application of its module, and its neurons times their weights.

    Args:
        model: The model.
        site: Site of the neurons of one expert.
        call: The application.
    """
    tokens, weights = reading_tokens(site, call)
    neurons = neurons_of_expert(model, site, call.x.flatten(0, -2)[tokens], site.expert or 0)
    return tokens, wide(neurons) * weights[:, None].to(neurons.device)


def reading_tokens(site: Site, call: ReaderCall) -> tuple[Int[Tensor, " t"], Float[Tensor, " t"]]:
    """Return the numbers of the tokens that read an expert, and the weights with which they do."""
    if call.routed is None or site.expert is None:
        raise ValueError(f"{site.name} is not read by some tokens only, expected neurons of one expert")
    numbers, weights = call.routed
    tokens, place = (numbers == site.expert).nonzero(as_tuple=True)
    return tokens, wide(weights)[tokens, place]


def _within(name: str, site: Site) -> str:
    return name.removeprefix(f"{site.reader}.")
