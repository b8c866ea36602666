"""Costs: the cost of a model by the number of units that its sites keep."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.budgets.counting import count_curve, count_quantity, shape_key
from infoprune.budgets.latency import time_table
from infoprune.budgets.pairs import Pair, pairs_of
from infoprune.budgets.rounding import preferred_multiple, sizes
from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER
from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import Batch, Progress, check_batches, typical_shape
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.offload import is_offloaded
from infoprune.structure.plain import on_plain_model
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, find_sites
from infoprune.surgery import outline

QUANTITIES = ("flops", "params", "bytes", "latency")


@dataclass(frozen=True)
class Coordinate:
    """Cost of one coordinate of the residual stream in one layer.

    Args:
        alone: Cost that does not depend on the layer's units.
        sites: By site name, (units + 1,): cost that 0, 1, ... of its units add.
    """

    alone: float
    sites: dict[str, Float[Tensor, " _"]]

    def beside(self, counts: Mapping[str, int]) -> float:
        """Return the cost in a layer with the given numbers of units."""
        return self.alone + sum(float(curve[counts[name]]) for name, curve in self.sites.items())


@dataclass(frozen=True)
class Costs:
    """Cost of a model by the number of units that its sites keep: the sum over the sites, and a constant rest.

    Args:
        quantity: "flops" (of one forward pass over `shape`), "params", "bytes" (in memory) or "latency" (ms, of that
            pass).
        shape: (inputs, tokens) of the batch for FLOPs and latency.
        rest: Cost of everything but the units.
        sites: By site name, (units + 1,): cost of keeping 0, 1, ... units, ascending.
        sizes: By site name, the numbers of units that it may keep, ascending; the last is all of them.
        thinner: Where the hidden size may be cut: the costs of three models that differ in it, by hidden size. The
            costs of all other hidden sizes are on the parabola through these three: a cost is quadratic in the hidden
            size at most, since a matrix connects coordinates with units or with other coordinates.
        layers: Where every layer may have a hidden size of its own: the cost of a coordinate there, by name of that
            site, bottom to top.
        pairs: Experts and their neurons where both may be cut, whose costs are no sum.

    Raises:
        InputError: The quantity is not known.
    """

    quantity: str
    shape: tuple[int, int]
    rest: float
    sites: dict[str, Float[Tensor, " _"]]
    sizes: dict[str, tuple[int, ...]]
    thinner: dict[int, Costs] = field(default_factory=dict)
    layers: dict[str, Coordinate] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        check_quantity(self.quantity)

    @property
    def dense(self) -> float:
        """Cost of the model with all of its units."""
        return self.of({name: each[-1] for name, each in self.sizes.items()})

    @property
    def least(self) -> float:
        """Cost of the smallest permitted model."""
        return self.of({name: each[0] for name, each in self.sizes.items()})

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the sites that are hidden sizes."""
        return (HIDDEN_SIZE,) if self.thinner else tuple(self.layers)

    def of(self, counts: Mapping[str, int]) -> float:
        """Return the cost of the model with the given number of units of every site."""
        if self.streams:
            return self.at(counts).of(counts)
        more = sum(float(each.more(self.sites, [counts[each.experts]], [counts[each.neurons]])) for each in self.pairs)
        return self.rest + more + sum(float(curve[counts[name]]) for name, curve in self.sites.items())

    def at(self, hidden_sizes: Mapping[str, int]) -> Costs:
        """Return the costs of the model with the given hidden sizes, by the number of units of its other sites.

        Args:
            hidden_sizes: Hidden size by site name; the names of other sites are ignored.
        """
        permitted = {name: sizes for name, sizes in self.sizes.items() if name not in self.streams}
        rest, curves = self._on_parabola(hidden_sizes[HIDDEN_SIZE]) if self.thinner else self._without(hidden_sizes)
        return Costs(self.quantity, self.shape, rest, curves, permitted)

    def _on_parabola(self, hidden_size: int) -> tuple[float, dict[str, Tensor]]:
        """Return rest and curves, by Lagrange's polynomials."""
        known = list(self.thinner)
        parts = [math.prod((hidden_size - other) / (own - other) for other in known if other != own) for own in known]
        each = list(zip(parts, self.thinner.values(), strict=True))
        curves = {name: sum((p * c.sites[name] for p, c in each), torch.zeros(())) for name in self.sites}
        return sum(p * c.rest for p, c in each), curves

    def _without(self, hidden_sizes: Mapping[str, int]) -> tuple[float, dict[str, Tensor]]:
        """Return rest and curves of a model whose layers lack some coordinates."""
        rest, curves = self.rest, dict(self.sites)
        for name, coordinate in self.layers.items():
            gone = self.sizes[name][-1] - hidden_sizes[name]
            rest -= gone * coordinate.alone
            curves |= {site: self.sites[site] - gone * curve for site, curve in coordinate.sites.items()}
        return rest, curves

    def hidden_size_curve(self, name: str) -> Float[Tensor, " _"]:
        """Return (hidden size + 1,): the cost of the model with 0, 1, ... coordinates of a site and all other units."""
        whole = {name: sizes[-1] for name, sizes in self.sizes.items()}
        several = torch.arange(whole[name] + 1, dtype=torch.float64)
        if self.layers:
            return self.dense - (whole[name] - several) * self.layers[name].beside(whole)
        return torch.tensor([self.at({name: n}).of(whole) for n in range(whole[name] + 1)], dtype=torch.float64)

    def among(self, sites: Collection[str]) -> Costs:
        """Return the costs of some of the sites, where all others are empty."""
        return replace(
            self,
            sites={name: self.sites[name] for name in self.sites if name in sites},
            sizes={name: self.sizes[name] for name in self.sizes if name in sites},
            pairs=tuple(pair for pair in self.pairs if pair.experts in sites and pair.neurons in sites),
        )


def check_quantity(quantity: str) -> None:
    """Raise InputError where a quantity is not known."""
    if quantity not in QUANTITIES:
        raise InputError(
            f"budget of {quantity!r} is not known, expected one of: {', '.join(QUANTITIES)}; "
            "pass e.g. `budget=flops=0.5`"
        )


@in_ordinary_mode
@on_plain_model
def find_costs(
    model: PreTrainedModel,
    quantity: str,
    batches: Sequence[Batch],
    *,
    structures: Collection[str] | None = None,
    multiple: int | None = None,
    depth: bool = False,
    progress: Progress | None = None,
) -> Costs:
    """Count or measure the cost of a model by the number of units that its sites keep, on a batch of typical shape.

    Parameters, bytes and FLOPs are counted with and without the units of every site, as a report counts them: so a head
    has its projections and its attention scores, a gated neuron three matrices, and a shared layer all of its
    applications. The latency is measured once on this machine and stored on disk.

    Args:
        model: A model of a supported family, dense or pruned before.
        quantity: "flops", "params", "bytes" or "latency".
        batches: Calibration inputs, for their typical shape.
        structures: Types of structure that may be cut; None means every type in the layers.
        multiple: Factor of all numbers of neurons; None measures once which one is fast on this machine.
        depth: Whether whole blocks may be removed.
        progress: Called with (timings done, timings in all).

    Returns:
        The costs of all permitted sizes of the sites.

    Raises:
        InputError: The quantity is not known, or cannot be measured.

    Examples:
        >>> find_costs(model, "params", batches).dense == model.num_parameters()
        True
    """
    check_quantity(quantity)
    batches = accept(model, batches)
    check_batches(batches)
    shape = typical_shape(batches, model.config)
    sites = find_sites(model, structures)
    if any(site.streams for site in sites):
        if quantity == "latency":
            raise InputError(
                "a budget of latency does not support the hidden size yet, expected flops, params or bytes; pass e.g. "
                f"`budget=flops=0.5`, or leave {HIDDEN_SIZE} and {HIDDEN_SIZE_PER_LAYER} out of `structures`"
            )
        find = _with_hidden_size if any(site.name == HIDDEN_SIZE for site in sites) else _with_hidden_size_per_layer
        return find(model, quantity, shape, sites, multiple, depth)
    return _costs(model, quantity, shape, sites, multiple, depth, progress)


def _with_hidden_size(
    model: PreTrainedModel,
    quantity: str,
    shape: tuple[int, int],
    sites: Sequence[Site],
    multiple: int | None,
    depth: bool,
) -> Costs:
    others = {site.name for site in sites if site.name != HIDDEN_SIZE}
    (whole,) = (site for site in sites if site.name == HIDDEN_SIZE)
    thinner = {}
    for hidden_size in sorted({max(1, whole.units * third // 3) for third in (1, 2, 3)}):
        thin = outline(model, {HIDDEN_SIZE: hidden_size})
        left = [site for site in every_site(thin) if site.name in others]
        thinner[hidden_size] = _costs(thin, quantity, shape, left, multiple, depth, None)
    full = thinner[whole.units]
    return replace(full, sizes={**full.sizes, HIDDEN_SIZE: _hidden_sizes(model, whole, multiple)}, thinner=thinner)


def _with_hidden_size_per_layer(
    model: PreTrainedModel,
    quantity: str,
    shape: tuple[int, int],
    sites: Sequence[Site],
    multiple: int | None,
    depth: bool,
) -> Costs:
    """Return costs that are linear in every layer's hidden size: its matrices connect coordinates with units alone."""
    others = [site for site in sites if not site.streams]
    hidden_sizes = [site for site in sites if site.streams]
    full = _costs(model, quantity, shape, others, multiple, depth, None)
    thin = {site.name: max(1, site.units // 2) for site in hidden_sizes}
    gone = {site.name: max(1, site.units - thin[site.name]) for site in hidden_sizes}
    narrow = outline(model, thin)
    left = [site for site in every_site(narrow) if site.name in full.sites]
    slim = _costs(narrow, quantity, shape, left, multiple, depth, None)
    layers = {}
    before = full.dense
    for index, site in reversed(list(enumerate(hidden_sizes))):  # the stream gets narrower on its way up
        above = {each.name: thin[each.name] for each in hidden_sizes[index:]}
        cost = float(count_quantity(outline(model, above), quantity, shape))
        own = [each.name for each in others if each.name in full.sites and _lies_in(each, site, hidden_sizes[-1])]
        curves = {name: (full.sites[name] - slim.sites[name]) / gone[site.name] for name in own}
        units = sum(float(curve[-1]) for curve in curves.values())
        layers[site.name] = Coordinate((before - cost) / gone[site.name] - units, curves)
        before = cost
    permitted = {site.name: _hidden_sizes(model, site, multiple) for site in hidden_sizes}
    return replace(
        full, sizes={**full.sizes, **permitted}, layers={site.name: layers[site.name] for site in hidden_sizes}
    )


def _lies_in(site: Site, hidden_size: Site, last: Site) -> bool:
    """Return whether a site is in the layer of that hidden size; sites above the layers belong to the last one."""
    return (
        site.layer == hidden_size.layer
        if site.stack == "layers" and site.structure != "pooler"
        else hidden_size == last
    )


def _hidden_sizes(model: PreTrainedModel, site: Site, multiple: int | None) -> tuple[int, ...]:
    """Return the hidden sizes that a stream may have."""
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
    pairs = pairs_of(sites, quantity)
    if quantity == "latency" and is_offloaded(model):
        raise InputError(
            "a budget of latency was given for a model with offloaded weights, expected weights on one device; "
            "use a budget of flops"
        )
    if quantity == "latency":
        table = time_table(model, sites, shape, permitted, progress=progress)
        return Costs(quantity, shape, table.rest, {site.name: table.curve(site) for site in sites}, permitted)
    total = count_quantity(model, quantity, shape)
    alike: dict[object, Tensor] = {}
    curves = {}
    for site in sites:
        key = shape_key(model, site)
        if key not in alike:
            alike[key] = count_curve(model, site, quantity, shape, total, depth=0 in permitted[site.name])
        curves[site.name] = alike[key]
    rest = total - sum(float(curve[-1]) for curve in curves.values())
    return Costs(quantity, shape, rest, curves, permitted, pairs=pairs)
