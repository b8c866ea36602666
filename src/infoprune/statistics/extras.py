"""Extras: mask gradients and activation norms of units, which some criteria need."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from infoprune.errors import InputError
from infoprune.processes import add_up, of_all
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import SiteStatistics

Extra = Literal["masks", "activation_norm"]


def mask_gradients(
    x: Float[Tensor, "... n"],
    gradient: Float[Tensor, "... o"],
    reader: Float[Tensor, "o n"],
    inputs: int,
    size: int,
) -> Float[Tensor, "inputs units"]:
    r"""Return the derivative of a scalar with respect to a factor m_u = 1 on every unit of every input.

        d/dm_u = sum_t sum_{i in u} x_ti (g_t^T W)_i

    Args:
        x: Input of the reader.
        gradient: Gradient g of the scalar at the reader's output, zero at padding.
        reader: Weight W of the reader.
        inputs: Number of texts; they share no token.
        size: Number of coordinates of a unit.
    """
    products = exact(x).flatten(0, -2) * (exact(gradient).flatten(0, -2) @ reader)
    return products.reshape(inputs, -1, x.shape[-1]).sum(1).reshape(inputs, -1, size).sum(-1)


class Extras:
    """Accumulator of what is collected beside the moments, batch by batch; without extras it costs nothing.

    Args:
        wanted: Names of the extras.

    Raises:
        InputError: There is no such extra.
    """

    def __init__(self, wanted: Collection[Extra]) -> None:
        known = get_args(Extra)
        unknown = set(wanted) - set(known)
        if unknown:
            raise InputError(f"`extras` has {', '.join(sorted(unknown))}, expected some of: {', '.join(known)}")
        self._masks, self._norms = "masks" in wanted, "activation_norm" in wanted
        self._gradients: dict[tuple[str, int], Tensor] = {}  # of this batch, by site and direction
        self._rows: dict[str, list[Tensor]] = {}
        self._squares: dict[str, Tensor] = {}

    def anew(self) -> Extras:
        """Return an empty accumulator of the same extras."""
        wanted: dict[Extra, bool] = {"masks": self._masks, "activation_norm": self._norms}
        return Extras([name for name, asked in wanted.items() if asked])

    def accumulate_mask_gradients(
        self, statistics: SiteStatistics, direction: int, x: Tensor, gradient: Tensor, inputs: int
    ) -> None:
        """Add the mask gradients of one direction at one application of a reader."""
        if self._masks:
            key = statistics.site.name, direction
            found = mask_gradients(x, gradient, statistics.reader, inputs, statistics.site.size)
            self._gradients[key] = self._gradients[key] + found if key in self._gradients else found

    def accumulate_norms(
        self, statistics: SiteStatistics, x: Float[Tensor, "... n"], real: Bool[Tensor, ...], inputs: int
    ) -> None:
        """Add the activation norms of a site's units in one batch."""
        if self._norms:
            lengths = (exact(x) * real[..., None]).reshape(inputs, -1, statistics.site.units, statistics.site.size)
            tokens = real.reshape(inputs, -1).sum(1).clamp_min(1)
            means = lengths.norm(dim=-1).sum(1) / tokens[:, None]
            name = statistics.site.name
            self._squares[name] = self._squares.get(name, torch.zeros_like(means[0])) + means.square().sum(0)

    def end_batch(self) -> None:
        """Close a batch."""
        by_site: dict[str, list[Tensor]] = {}
        for (name, _), found in self._gradients.items():  # directions come in order
            by_site.setdefault(name, []).append(found.float())
        for name, each in by_site.items():
            self._rows.setdefault(name, []).append(torch.cat(each, 1))
        self._gradients.clear()

    def added(self, gathered: Mapping[str, SiteStatistics]) -> dict[str, SiteStatistics]:
        """Return the statistics with the extras, which are those of all processes."""
        found = {}
        for name, each in gathered.items():
            masks = activation_norm = None
            if self._masks and each.site.routing is None:
                rows = torch.cat(of_all(self._rows[name]))
                masks = rows.reshape(len(rows), -1, each.site.units)
            if self._norms and each.site.routing is None:
                add_up(self._squares[name])
                activation_norm = self._squares[name].sqrt()
            found[name] = replace(each, masks=masks, activation_norm=activation_norm)
        return found
