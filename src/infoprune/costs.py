"""Costs: what a model costs, by how many units its sites keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.calibration import Batch, Progress, check_batches, typical_shape
from infoprune.errors import InputError
from infoprune.latency import time_table
from infoprune.measure import count_bytes, count_flops, count_parameters, example_batch
from infoprune.rounding import preferred_multiple, sizes
from infoprune.sites import Site, find_sites, linear

QUANTITIES = ("flops", "params", "bytes", "latency")


@dataclass(frozen=True)
class Costs:
    """What a model costs, by how many units its sites keep: the sum over the sites, and a rest that no cut touches.

    Args:
        quantity: "flops" (of one forward pass over `shape`), "params", "bytes" (in memory) or "latency" (ms, of that
            pass).
        shape: (inputs, tokens) of the batch for FLOPs and latency.
        rest: cost of everything but the units.
        sites: by site name, (units + 1,): cost of keeping 0, 1, ... units, ascending.
        sizes: by site name, the numbers of units that it may keep, ascending; the last is all of them.

    Raises:
        InputError: the quantity is not known.
    """

    quantity: str
    shape: tuple[int, int]
    rest: float
    sites: dict[str, Float[Tensor, " _"]]
    sizes: dict[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        check_quantity(self.quantity)

    @property
    def dense(self) -> float:
        """Cost of the model with all of its units."""
        return self.of({name: each[-1] for name, each in self.sizes.items()})

    @property
    def least(self) -> float:
        """Cost of the smallest model that may be asked for."""
        return self.of({name: each[0] for name, each in self.sizes.items()})

    def of(self, counts: Mapping[str, int]) -> float:
        """Cost of the model that keeps so many units of every site."""
        return self.rest + sum(float(curve[counts[name]]) for name, curve in self.sites.items())


def check_quantity(quantity: str) -> None:
    """Raises InputError where a quantity is not known."""
    if quantity not in QUANTITIES:
        raise InputError(f"budget of {quantity!r} is not known, expected one of: {', '.join(QUANTITIES)}")


def find_costs(
    model: PreTrainedModel,
    quantity: str,
    batches: Sequence[Batch],
    *,
    kinds: Collection[str] | None = None,
    multiple: int | None = None,
    progress: Progress | None = None,
) -> Costs:
    """What a model costs, by how many units its sites keep, on a batch of typical shape.

    Parameters, bytes and FLOPs are counted; FLOPs as in `count_flops`, so a head's are those of its projections and of
    its attention scores. The latency is measured on this machine, once, and remembered.

    Args:
        model: dense, or pruned before.
        quantity: "flops", "params", "bytes" or "latency".
        batches: calibration inputs, for their shape.
        kinds: which kinds of site may be cut; None means all.
        multiple: of which numbers of neurons have to be; None measures which this machine's kernels like, once.
        progress: called with (timings done, timings in all).

    Raises:
        InputError: the quantity is not known.

    Example:
        >>> find_costs(model, "params", batches).dense
        22713986.0
    """
    check_quantity(quantity)
    check_batches(batches)
    shape = typical_shape(batches)
    sites = find_sites(model, kinds)
    first = next(model.parameters())
    multiple = multiple or preferred_multiple(first.device, first.dtype)
    permitted = {site.name: sizes(site, multiple) for site in sites}
    if quantity == "latency":
        table = time_table(model, sites, shape, permitted, progress=progress)
        return Costs(quantity, shape, table.rest, {site.name: table.curve(site) for site in sites}, permitted)
    unit = {site.name: _unit(model, site, quantity, shape) for site in sites}
    total = _total(model, quantity, shape)
    rest = total - sum(unit[site.name] * site.units for site in sites)
    curves = {site.name: unit[site.name] * torch.arange(site.units + 1, dtype=torch.float64) for site in sites}
    return Costs(quantity, shape, float(rest), curves, permitted)


def _total(model: PreTrainedModel, quantity: str, shape: tuple[int, int]) -> int:
    if quantity == "flops":
        return count_flops(model, example_batch(model.config, *shape))
    return count_bytes(model) if quantity == "bytes" else count_parameters(model)


def _unit(model: PreTrainedModel, site: Site, quantity: str, shape: tuple[int, int]) -> int:
    """What one unit costs: the rows that produce it, the columns that read it, and a head's attention scores."""
    rows = [(linear(model, path), linear(model, path).out_features // site.units) for path in site.producers]
    columns = [(linear(model, path), linear(model, path).in_features // site.units) for path in site.readers]
    weights = [(module, each * module.in_features) for module, each in rows]
    weights += [(module, each * module.out_features) for module, each in columns]
    if quantity == "flops":
        inputs, tokens = shape
        scores = 2 * tokens * 2 * site.size if site.kind == "heads" else 0
        return inputs * tokens * (2 * sum(count for _, count in weights) + scores)
    # a lost row takes its bias along; the readers' biases stay
    weights += [(module, each) for module, each in rows if module.bias is not None]
    return sum(count * (module.weight.element_size() if quantity == "bytes" else 1) for module, count in weights)
