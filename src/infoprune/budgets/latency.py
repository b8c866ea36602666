"""Latency: the time of a model by the number of units that its sites keep, from a table measured on this machine.

Layers are alike, so one site of each type is timed: its layer alone, at a grid of sizes, all in alternating runs. A
layer that runs repeatedly finds its weights in the processor's cache, but in the whole model it may not. So two timings
of the whole model, with all of its units and with the fewest, set the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sklearn.isotonic import isotonic_regression
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from infoprune.measuring.machine import remembered
from infoprune.measuring.measure import device_of, example_batch, time_rounds
from infoprune.statistics.calibration import Progress
from infoprune.structure.site import Site
from infoprune.surgery import outline

SHARES = (0, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)
REPEATS = 15


@dataclass(frozen=True)
class TimeTable:
    """Milliseconds of a model by the sizes of its sites.

    Args:
        rest: Milliseconds of the model with the fewest units that a budget may leave.
        grid: By type of structure, the sizes that were timed, ascending.
        more: By type of structure, the milliseconds that each of these sizes takes beyond the smallest.
    """

    rest: float
    grid: dict[str, tuple[int, ...]]
    more: dict[str, tuple[float, ...]]

    def curve(self, site: Site) -> Float[Tensor, " _"]:
        """Return the milliseconds of 0, 1, ... units of a site, (units + 1,), linear between the grid's sizes."""
        grid, more = (torch.tensor(each[site.structure], dtype=torch.float64) for each in (self.grid, self.more))
        units = torch.arange(site.units + 1, dtype=torch.float64)
        if len(grid) == 1:
            return torch.zeros_like(units)
        above = torch.searchsorted(grid, units).clamp(1, len(grid) - 1)
        part = ((units - grid[above - 1]) / (grid[above] - grid[above - 1])).clamp(0, 1)
        return torch.lerp(more[above - 1], more[above], part)  # exact at both ends, so that the curve never falls


def time_table(
    model: PreTrainedModel,
    sites: Sequence[Site],
    shape: tuple[int, int],
    sizes: Mapping[str, Sequence[int]],
    *,
    progress: Progress | None = None,
) -> TimeTable:
    """Time a model's parts on its device, or return the times of an earlier measurement from the disk.

    Args:
        model: A model whose layers differ in the number of units at most.
        sites: Sites that may be cut.
        shape: (inputs, tokens) of a batch.
        sizes: By site name, the numbers of units that it may keep.
        progress: Called with (timings done, timings in all).
    """
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype
    widest = {site.structure: site for site in sorted(sites, key=lambda site: site.units)}
    grid = {structure: _grid(sizes[site.name]) for structure, site in widest.items()}
    key = {
        "model": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sites": [[site.name, site.units, site.size] for site in sites],
        "grid": {structure: list(each) for structure, each in grid.items()},
        "attention": str(getattr(model.config, "_attn_implementation", None)),
        "dtype": str(dtype),
        "shape": list(shape),
    }
    values = remembered("latency", key, device, lambda: _measured(model, sites, widest, grid, shape, progress))
    return _table(values, sites, grid)


def _grid(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes nearest to some shares of the largest, and the two smallest, for the step from no units."""
    nearest = {min(sizes, key=lambda size: abs(size - share * sizes[-1])) for share in SHARES}
    return tuple(sorted({*nearest, *sizes[:2]}))


def _measured(
    model: PreTrainedModel,
    sites: Sequence[Site],
    widest: Mapping[str, Site],
    grid: Mapping[str, tuple[int, ...]],
    shape: tuple[int, int],
    progress: Progress | None,
) -> list[float]:
    """Return the milliseconds of the whole model, of the smallest one, and of a layer at every size of every grid."""
    batch = example_batch(model.config, *shape, device=device_of(model))
    smallest = outline(model, {site.name: grid[site.structure][0] for site in sites})
    # the fastest of several runs: other work on the machine only ever adds time
    values = [min(times) for times in time_rounds([model, smallest], batch, repeats=REPEATS)]
    for done, (structure, site) in enumerate(widest.items(), start=1):
        parts = [_part(model, site, size, batch) for size in grid[structure]]
        values += [min(times) for times in time_rounds(parts, batch, repeats=REPEATS)]
        if progress is not None:
            progress(done, len(widest))
    return values


def _table(values: Sequence[float], sites: Sequence[Site], grid: Mapping[str, tuple[int, ...]]) -> TimeTable:
    dense, least, *layers = values
    more = {}
    for structure, each in grid.items():
        part, layers = isotonic_regression(layers[: len(each)]), layers[len(each) :]  # a larger size never takes less
        more[structure] = torch.tensor(part - part[0], dtype=torch.float64)
    table = TimeTable(least, dict(grid), {structure: tuple(each.tolist()) for structure, each in more.items()})
    added = sum(float(table.curve(site)[-1]) for site in sites)
    scale = max(dense - least, 0.0) / added if added > 0 else 0.0
    return TimeTable(least, table.grid, {structure: tuple((scale * each).tolist()) for structure, each in more.items()})


class _Part(nn.Module):
    """Layer that runs on the inputs that it had in the model."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.args: tuple[object, ...] = ()
        self.kwargs: dict[str, object] = {}

    def forward(self, **_: Tensor) -> object:
        return self.layer(*self.args, **self.kwargs)


def _part(model: PreTrainedModel, site: Site, size: int, batch: Mapping[str, Tensor]) -> _Part:
    """Return the layer of a site, cut to a size, with its inputs of a forward pass."""
    small = outline(model, {site.name: size}).eval()
    parts = site.reader.split(".")
    number = max(index for index, name in enumerate(parts) if name.isdecimal())  # of the layer in its list
    part = _Part(small.get_submodule(".".join(parts[: number + 1])))

    def catch(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        part.args = args
        part.kwargs = {name: None if isinstance(value, Cache) else value for name, value in kwargs.items()}

    handle = part.layer.register_forward_pre_hook(catch, with_kwargs=True)
    with torch.inference_mode():
        small(**batch)
    handle.remove()
    return part
