"""Costs: what a model costs, by how many units its sites keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.budgets.latency import time_table
from infoprune.budgets.rounding import preferred_multiple, sizes
from infoprune.errors import InputError
from infoprune.measuring.measure import count_bytes, count_flops, count_parameters, device_of, example_batch
from infoprune.plan import WIDTH
from infoprune.statistics.calibration import Batch, Progress, check_batches, typical_shape
from infoprune.structure.offload import is_offloaded
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, find_sites
from infoprune.surgery import outline

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
        thinner: where the width may be cut: the costs of three models that differ in it, by width. All others are on
            the parabola through these, since a coordinate meets units, and no more than other coordinates, in products.

    Raises:
        InputError: the quantity is not known.
    """

    quantity: str
    shape: tuple[int, int]
    rest: float
    sites: dict[str, Float[Tensor, " _"]]
    sizes: dict[str, tuple[int, ...]]
    thinner: dict[int, Costs] = field(default_factory=dict)

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
        if self.thinner:
            return self.at(counts[WIDTH]).of(counts)
        return self.rest + sum(float(curve[counts[name]]) for name, curve in self.sites.items())

    def at(self, width: int) -> Costs:
        """The costs of the model whose residual stream is so wide, by how many units its other sites keep."""
        known = list(self.thinner)
        parts = [
            math.prod((width - other) / (own - other) for other in known if other != own) for own in known
        ]  # Lagrange's polynomials
        each = list(zip(parts, self.thinner.values(), strict=True))
        curves = {name: sum((p * c.sites[name] for p, c in each), torch.zeros(())) for name in self.sites}
        permitted = {name: sizes for name, sizes in self.sizes.items() if name != WIDTH}
        return Costs(self.quantity, self.shape, sum(p * c.rest for p, c in each), curves, permitted)

    def width_curve(self) -> Float[Tensor, " _"]:
        """(width + 1,): cost of the model with 0, 1, ... coordinates and all other units."""
        whole = {name: sizes[-1] for name, sizes in self.sizes.items()}
        return torch.tensor([self.at(n).of(whole) for n in range(whole[WIDTH] + 1)], dtype=torch.float64)

    def among(self, sites: Collection[str]) -> Costs:
        """The costs of some of the sites, where all others are empty."""
        return replace(
            self,
            sites={name: self.sites[name] for name in self.sites if name in sites},
            sizes={name: self.sizes[name] for name in self.sizes if name in sites},
        )


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
    depth: bool = False,
    progress: Progress | None = None,
) -> Costs:
    """What a model costs, by how many units its sites keep, on a batch of typical shape.

    Parameters, bytes and FLOPs are counted with and without the units of every site, as a report counts them: so a head
    has its projections and its attention scores, a gated neuron three matrices, and a shared layer all of its
    applications. The latency is measured on this machine, once, and remembered.

    Args:
        model: dense, or pruned before.
        quantity: "flops", "params", "bytes" or "latency".
        batches: calibration inputs, for their shape.
        kinds: which kinds of site may be cut; None means all.
        multiple: of which numbers of neurons have to be; None measures which this machine's kernels like, once.
        depth: whether whole blocks may go.
        progress: called with (timings done, timings in all).

    Raises:
        InputError: the quantity is not known, or cannot be measured.

    Example:
        >>> find_costs(model, "params", batches).dense
        22713986.0
    """
    check_quantity(quantity)
    check_batches(batches)
    shape = typical_shape(batches, model.config)
    sites = find_sites(model, kinds)
    if any(site.name == WIDTH for site in sites):
        return _with_width(model, quantity, shape, sites, multiple, depth, progress)
    return _costs(model, quantity, shape, sites, multiple, depth, progress)


def _with_width(
    model: PreTrainedModel,
    quantity: str,
    shape: tuple[int, int],
    sites: Sequence[Site],
    multiple: int | None,
    depth: bool,
    progress: Progress | None,
) -> Costs:
    if quantity == "latency":
        raise InputError(
            "a budget of latency cannot weigh the width of the residual stream yet, expected flops, params or bytes; "
            "pass e.g. flops=0.5, or leave width out of sites"
        )
    others = {site.name for site in sites if site.name != WIDTH}
    (whole,) = (site for site in sites if site.name == WIDTH)
    thinner = {}
    for width in sorted({max(1, whole.units * third // 3) for third in (1, 2, 3)}):
        thin = outline(model, {WIDTH: width})
        left = [site for site in every_site(thin) if site.name in others]
        thinner[width] = _costs(thin, quantity, shape, left, multiple, depth, progress)
    full = thinner[whole.units]
    first = next(model.parameters())
    permitted = sizes(whole, multiple or preferred_multiple(device_of(model), first.dtype))
    return replace(full, sizes={**full.sizes, WIDTH: permitted}, thinner=thinner)


def _costs(
    model: PreTrainedModel,
    quantity: str,
    shape: tuple[int, int],
    sites: Sequence[Site],
    multiple: int | None,
    depth: bool,
    progress: Progress | None,
) -> Costs:
    first = next(model.parameters())
    multiple = multiple or preferred_multiple(device_of(model), first.dtype)
    permitted = {site.name: sizes(site, multiple, depth=depth) for site in sites}
    if quantity == "latency" and is_offloaded(model):
        raise InputError(
            "the latency of a model with offloaded weights was to be measured, expected weights on one device; "
            "use a budget of flops"
        )
    if quantity == "latency":
        table = time_table(model, sites, shape, permitted, progress=progress)
        return Costs(quantity, shape, table.rest, {site.name: table.curve(site) for site in sites}, permitted)
    count = partial(_count, quantity=quantity, shape=shape)
    total = count(model)
    curves = {site.name: _curve(model, site, total, count, depth=0 in permitted[site.name]) for site in sites}
    rest = total - sum(float(curve[-1]) for curve in curves.values())
    return Costs(quantity, shape, rest, curves, permitted)


def _count(model: PreTrainedModel, quantity: str, shape: tuple[int, int]) -> int:
    if quantity == "flops":
        # one input and two tell the count of any number, also where tables of positions are computed once a batch
        one, two = (count_flops(model, example_batch(model.config, number, shape[1])) for number in (1, 2))
        return one + (shape[0] - 1) * (two - one)
    return count_bytes(model) if quantity == "bytes" else count_parameters(model)


def _curve(
    model: PreTrainedModel, site: Site, total: int, count: Callable[[PreTrainedModel], int], *, depth: bool
) -> Float[Tensor, " _"]:
    """(units + 1,): what 0, 1, ... units cost. All cost the same, and the first brings along what a block has once."""
    alone = total if site.units == 1 else count(outline(model, {site.name: 1}))
    unit = (total - alone) // max(site.units - 1, 1)
    first = alone - count(outline(model, {site.name: 0})) if depth else unit
    curve = unit * torch.arange(site.units + 1, dtype=torch.float64)
    curve[1:] += first - unit
    return curve
