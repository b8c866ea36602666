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
from infoprune.plan import LAYER_WIDTH, WIDTH
from infoprune.statistics.calibration import Batch, Progress, check_batches, typical_shape
from infoprune.structure.offload import is_offloaded
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, find_sites
from infoprune.surgery import outline

QUANTITIES = ("flops", "params", "bytes", "latency")


@dataclass(frozen=True)
class Coordinate:
    """What one coordinate of the residual stream costs in one layer.

    Args:
        alone: whatever the layer's units.
        sites: by site name, (units + 1,): beside 0, 1, ... of its units.
    """

    alone: float
    sites: dict[str, Float[Tensor, " _"]]

    def beside(self, counts: Mapping[str, int]) -> float:
        """What it costs in a layer of so many units."""
        return self.alone + sum(float(curve[counts[name]]) for name, curve in self.sites.items())


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
        layers: where every layer may have a width of its own: what a coordinate costs there, by name of that width,
            bottom to top.

    Raises:
        InputError: the quantity is not known.
    """

    quantity: str
    shape: tuple[int, int]
    rest: float
    sites: dict[str, Float[Tensor, " _"]]
    sizes: dict[str, tuple[int, ...]]
    thinner: dict[int, Costs] = field(default_factory=dict)
    layers: dict[str, Coordinate] = field(default_factory=dict)

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

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the widths that may be cut."""
        return (WIDTH,) if self.thinner else tuple(self.layers)

    def of(self, counts: Mapping[str, int]) -> float:
        """Cost of the model that keeps so many units of every site."""
        if self.streams:
            return self.at(counts).of(counts)
        return self.rest + sum(float(curve[counts[name]]) for name, curve in self.sites.items())

    def at(self, widths: Mapping[str, int]) -> Costs:
        """The costs of the model whose residual stream is so wide, by how many units its other sites keep.

        Args:
            widths: by name of the width; other names are passed over.
        """
        permitted = {name: sizes for name, sizes in self.sizes.items() if name not in self.streams}
        rest, curves = self._on_parabola(widths[WIDTH]) if self.thinner else self._without(widths)
        return Costs(self.quantity, self.shape, rest, curves, permitted)

    def _on_parabola(self, width: int) -> tuple[float, dict[str, Tensor]]:
        """Rest and curves, by Lagrange's polynomials."""
        known = list(self.thinner)
        parts = [math.prod((width - other) / (own - other) for other in known if other != own) for own in known]
        each = list(zip(parts, self.thinner.values(), strict=True))
        curves = {name: sum((p * c.sites[name] for p, c in each), torch.zeros(())) for name in self.sites}
        return sum(p * c.rest for p, c in each), curves

    def _without(self, widths: Mapping[str, int]) -> tuple[float, dict[str, Tensor]]:
        """Rest and curves of a model whose layers lack some coordinates."""
        rest, curves = self.rest, dict(self.sites)
        for name, coordinate in self.layers.items():
            gone = self.sizes[name][-1] - widths[name]
            rest -= gone * coordinate.alone
            curves |= {site: self.sites[site] - gone * curve for site, curve in coordinate.sites.items()}
        return rest, curves

    def width_curve(self, name: str) -> Float[Tensor, " _"]:
        """(width + 1,): cost of the model with 0, 1, ... coordinates of one width and all other units."""
        whole = {name: sizes[-1] for name, sizes in self.sizes.items()}
        several = torch.arange(whole[name] + 1, dtype=torch.float64)
        if self.layers:
            return self.dense - (whole[name] - several) * self.layers[name].beside(whole)
        return torch.tensor([self.at({name: n}).of(whole) for n in range(whole[name] + 1)], dtype=torch.float64)

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
    if any(site.streams for site in sites):
        if quantity == "latency":
            raise InputError(
                "a budget of latency cannot weigh the width of the residual stream yet, expected flops, params or "
                f"bytes; pass e.g. flops=0.5, or leave {WIDTH} and {LAYER_WIDTH} out of sites"
            )
        find = _with_width if any(site.name == WIDTH for site in sites) else _with_layer_widths
        return find(model, quantity, shape, sites, multiple, depth)
    return _costs(model, quantity, shape, sites, multiple, depth, progress)


def _with_width(
    model: PreTrainedModel,
    quantity: str,
    shape: tuple[int, int],
    sites: Sequence[Site],
    multiple: int | None,
    depth: bool,
) -> Costs:
    others = {site.name for site in sites if site.name != WIDTH}
    (whole,) = (site for site in sites if site.name == WIDTH)
    thinner = {}
    for width in sorted({max(1, whole.units * third // 3) for third in (1, 2, 3)}):
        thin = outline(model, {WIDTH: width})
        left = [site for site in every_site(thin) if site.name in others]
        thinner[width] = _costs(thin, quantity, shape, left, multiple, depth, None)
    full = thinner[whole.units]
    return replace(full, sizes={**full.sizes, WIDTH: _widths(model, whole, multiple)}, thinner=thinner)


def _with_layer_widths(
    model: PreTrainedModel,
    quantity: str,
    shape: tuple[int, int],
    sites: Sequence[Site],
    multiple: int | None,
    depth: bool,
) -> Costs:
    """Costs are linear in every layer's width: a coordinate meets its layer's units, and no coordinate of another."""
    others = [site for site in sites if not site.streams]
    widths = [site for site in sites if site.streams]
    full = _costs(model, quantity, shape, others, multiple, depth, None)
    thin = {site.name: max(1, site.units // 2) for site in widths}
    gone = {site.name: max(1, site.units - thin[site.name]) for site in widths}
    narrow = outline(model, thin)
    left = [site for site in every_site(narrow) if site.name in full.sites]
    slim = _costs(narrow, quantity, shape, left, multiple, depth, None)
    layers = {}
    before = full.dense
    for index, site in reversed(list(enumerate(widths))):  # the stream gets narrower on its way up
        above = {each.name: thin[each.name] for each in widths[index:]}
        cost = float(_count(outline(model, above), quantity, shape))
        own = [each.name for each in others if each.name in full.sites and _stands_in(each, site, widths[-1])]
        curves = {name: (full.sites[name] - slim.sites[name]) / gone[site.name] for name in own}
        units = sum(float(curve[-1]) for curve in curves.values())
        layers[site.name] = Coordinate((before - cost) / gone[site.name] - units, curves)
        before = cost
    permitted = {site.name: _widths(model, site, multiple) for site in widths}
    return replace(full, sizes={**full.sizes, **permitted}, layers={site.name: layers[site.name] for site in widths})


def _stands_in(site: Site, width: Site, last: Site) -> bool:
    """Whether a site is in the layer of that width; what stands above the layers goes with the last of them."""
    return site.layer == width.layer if site.stack == "layers" and site.kind != "pooler" else width == last


def _widths(model: PreTrainedModel, site: Site, multiple: int | None) -> tuple[int, ...]:
    """The widths that a stream may have."""
    return sizes(site, multiple or preferred_multiple(device_of(model), next(model.parameters()).dtype))


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
