"""Counting: the parameters, bytes or FLOPs of a model, and of the units of a site."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.budgets.rounding import FINEST
from infoprune.measuring.measure import config_of_pictures, count_bytes, count_flops, count_parameters, example_batch
from infoprune.structure.linear import linear
from infoprune.structure.site import Site
from infoprune.surgery import outline


def count_quantity(model: PreTrainedModel, quantity: str, shape: tuple[int, int]) -> int:
    """Count a model's "flops" (on a batch of `shape`), "bytes" or "params".

    Args:
        model: The model.
        quantity: What to count.
        shape: (inputs, tokens) of a batch.
    """
    if quantity == "flops":
        # counts for one and two inputs give those of any number, also where positions are computed once per batch;
        # it takes a third one where every text of a batch meets every picture
        pairs = config_of_pictures(model.config) not in (None, model.config)
        numbers = (1, 2, 3) if pairs else (1, 2)
        counts = [count_flops(model, example_batch(model.config, number, shape[1])) for number in numbers]
        curvature = counts[2] - 2 * counts[1] + counts[0] if pairs else 0
        more = shape[0] - 1
        return counts[0] + more * (counts[1] - counts[0]) + more * (more - 1) // 2 * curvature
    return count_bytes(model) if quantity == "bytes" else count_parameters(model)


def count_curve(
    model: PreTrainedModel, site: Site, quantity: str, shape: tuple[int, int], total: int, *, depth: bool
) -> Float[Tensor, " _"]:
    """Return the cost of 0, 1, ... units of a site, (units + 1,), in some quantity.

    All units cost the same; the first one also includes what its block has once. Experts cost more while there are no
    more than a token reads.

    Args:
        model: The whole model.
        site: The site.
        quantity: What to count.
        shape: (inputs, tokens) of a batch.
        total: Count of the whole model.
        depth: Whether the block may be removed, so that the cost of having it is counted too.
    """
    # a layer that has lost a head has an index of those that are left, which takes some bytes for each
    index = site.index_bytes if quantity == "bytes" else 0
    few = min(FINEST, site.units) if site.needs_multiples else 1
    there = total if site.units == few else count_quantity(outline(model, {site.name: few}), quantity, shape)
    alone = there - (index if site.units > few else 0)
    if site.whole_experts:
        return _expert_curve(model, site, quantity, shape, total, alone)
    unit = (total - alone) // max(site.units - few, 1)
    first = alone - count_quantity(outline(model, {site.name: 0}), quantity, shape) if depth else unit
    curve = unit * torch.arange(site.units + 1, dtype=torch.float64)
    curve[1:] += first - unit
    curve[:-1] += index * torch.arange(site.units, dtype=torch.float64)
    return curve


def _expert_curve(
    model: PreTrainedModel, site: Site, quantity: str, shape: tuple[int, int], total: int, alone: int
) -> Float[Tensor, " _"]:
    read = min(site.units, site.routing.chosen if site.routing else 1)
    there = total if read == site.units else count_quantity(outline(model, {site.name: read}), quantity, shape)
    counts = torch.arange(site.units + 1, dtype=torch.float64)
    least = (there - alone) // max(read - 1, 1) * (counts.clamp(max=read) - 1)
    more = (total - there) // max(site.units - read, 1) * (counts - read).clamp(min=0)
    first = (total - there) // max(site.units - read, 1) if read == 1 else (there - alone) // (read - 1)
    return first + least + more


def shape_key(model: PreTrainedModel, site: Site) -> object:
    """Return what the cost of a site's units depends on: so layers of one shape are counted once.

    The bottom layer is counted by itself, since some families have more in it.
    """
    shapes = tuple(tuple(model.get_parameter(name).shape) for name in site.cut_parameters)
    biases = tuple(linear(model, path).bias is not None for path in site.linears)
    bottom = site.layer == 0 or site.shared
    return site.structure, site.stack, site.name if bottom else "", site.units, site.size, shapes, biases, site.least
