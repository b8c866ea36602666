"""Unit weights: the weights that read the units of a site, and the norms of those that write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from infoprune.statistics.precision import exact
from infoprune.structure.experts import expert_reader
from infoprune.structure.linear import linear
from infoprune.structure.offload import present
from infoprune.structure.site import Site

Written = tuple[Int[Tensor, " rows"], Float[Tensor, "rows _"]]
"""Units that rows of weights write, and these rows."""


@dataclass(frozen=True)
class UnitWeights:
    """Weights that read the units of a site, and norms of those that write them; see `SiteStatistics`.

    Args:
        reader: Weight of the reader, (o, n) float64.
        centred: Whether a bias takes up the change of the mean that a cut causes.
        produced: Euclidean norm of the rows that produce a unit.
        produced_sum: Sum of the absolute values of these rows.
    """

    reader: Float[Tensor, "o n"]
    centred: bool
    produced: Float[Tensor, " units"]
    produced_sum: Float[Tensor, " units"]

    @classmethod
    def of(cls, model: nn.Module, site: Site) -> UnitWeights:
        """Return those of a site."""
        if site.whole_experts:
            return cls._of_experts(model, site)
        reader, centred = _reader(model, site)
        squares = torch.zeros(site.units, dtype=torch.float64, device=reader.device)
        sums = torch.zeros_like(squares)
        for owners, rows in _written(model, site):
            owners, rows = owners.to(squares.device), rows[: len(owners)].to(squares.device)
            squares.index_add_(0, owners, rows.square().sum(1))
            sums.index_add_(0, owners, rows.abs().sum(1))
        return cls(reader, centred, squares.sqrt(), sums)

    @classmethod
    def _of_experts(cls, model: nn.Module, site: Site) -> UnitWeights:
        with present(model, site.reader):
            weights = [exact(weight).flatten(1) for weight in model.get_submodule(site.reader).parameters()]
        nothing = torch.zeros(0, site.units, dtype=torch.float64, device=weights[0].device)
        squares = torch.stack([weight.square().sum(1) for weight in weights]).sum(0)
        return cls(nothing, False, squares.sqrt(), torch.stack([weight.abs().sum(1) for weight in weights]).sum(0))


def _reader(model: nn.Module, site: Site) -> tuple[Float[Tensor, "o n"], bool]:
    """Return the weight of the reader, of the stream the identity, and whether it is centred."""
    with present(model, site.reader):
        if site.expert is not None:  # its bias is multiplied by the weight of the token, so it takes up no mean
            return exact(expert_reader(model, site, site.expert)).contiguous(), False
        reader = linear(model, site.reader)
        if not site.streams:
            return exact(reader.weight), reader.bias is not None
        identity = torch.eye(site.units, dtype=torch.float64, device=exact(reader.weight).device)
    return identity, all(linear(model, path).bias is not None for path in site.readers)


def _written(model: nn.Module, site: Site) -> Iterator[Written]:
    """Yield the rows of weights that write the units, without biases."""
    for producer in site.producers:
        with present(model, producer.module):
            rows = exact(linear(model, producer.module).weight)
        yield (torch.arange(site.units) if site.streams else producer.owners(site.units)), rows
    if site.neurons is not None and site.expert is not None:
        with present(model, site.reader):
            for entries, axis in site.neurons.written:
                entry = exact(model.get_parameter(entries.module)[site.expert]).movedim(axis, 0)
                if entry.ndim > 1:
                    yield entries.owners(site.units), entry
