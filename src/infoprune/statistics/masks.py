"""Masks: what the model's answer would feel of a factor on each unit, and how loud the units are; for some criteria."""

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

Extra = Literal["masks", "loudness"]


def mask_gradients(
    x: Float[Tensor, "... n"],
    gradient: Float[Tensor, "... o"],
    reader: Float[Tensor, "o n"],
    inputs: int,
    size: int,
) -> Float[Tensor, "inputs units"]:
    r"""Derivative of a scalar with respect to a factor m_u = 1 on every unit of every input.

        d/dm_u = sum_t sum_{i in u} x_ti (g_t^T W)_i

    Args:
        x: the reader's input.
        gradient: g of the scalar at the reader's output, zero at padding.
        reader: W.
        inputs: texts; they share no token.
        size: coordinates of a unit.
    """
    felt = exact(x).flatten(0, -2) * (exact(gradient).flatten(0, -2) @ reader)
    return felt.reshape(inputs, -1, x.shape[-1]).sum(1).reshape(inputs, -1, size).sum(-1)


class Extras:
    """Gathers what was asked for beside the moments, batch by batch; where nothing was, it costs nothing.

    Args:
        wanted: which.

    Raises:
        InputError: there is no such extra.
    """

    def __init__(self, wanted: Collection[Extra]) -> None:
        unknown = set(wanted) - set(get_args(Extra))
        if unknown:
            raise InputError(f"extras {', '.join(sorted(unknown))} were asked for, expected masks or loudness")
        self._masks, self._loud = "masks" in wanted, "loudness" in wanted
        self._felt: dict[tuple[str, int], Tensor] = {}  # of this batch, by site and direction
        self._rows: dict[str, list[Tensor]] = {}
        self._squares: dict[str, Tensor] = {}

    def feel(self, statistics: SiteStatistics, direction: int, x: Tensor, gradient: Tensor, inputs: int) -> None:
        """Adds what one direction of the answer says at one application of a reader."""
        if self._masks:
            key = statistics.site.name, direction
            felt = mask_gradients(x, gradient, statistics.reader, inputs, statistics.site.size)
            self._felt[key] = self._felt[key] + felt if key in self._felt else felt

    def hear(self, statistics: SiteStatistics, x: Float[Tensor, "... n"], real: Bool[Tensor, ...], inputs: int) -> None:
        """Adds how loud the units of a site are in one batch."""
        if self._loud:
            lengths = (exact(x) * real[..., None]).reshape(inputs, -1, statistics.site.units, statistics.site.size)
            tokens = real.reshape(inputs, -1).sum(1).clamp_min(1)
            means = lengths.norm(dim=-1).sum(1) / tokens[:, None]
            name = statistics.site.name
            self._squares[name] = self._squares.get(name, torch.zeros_like(means[0])) + means.square().sum(0)

    def end_batch(self) -> None:
        """Closes a batch."""
        by_site: dict[str, list[Tensor]] = {}
        for (name, _), felt in self._felt.items():  # directions come in order
            by_site.setdefault(name, []).append(felt.float())
        for name, each in by_site.items():
            self._rows.setdefault(name, []).append(torch.cat(each, 1))
        self._felt.clear()

    def added(self, gathered: Mapping[str, SiteStatistics]) -> dict[str, SiteStatistics]:
        """The statistics with what was gathered, in all processes."""
        found = {}
        for name, each in gathered.items():
            masks = loudness = None
            if self._masks:
                rows = torch.cat(of_all(self._rows[name]))
                masks = rows.reshape(len(rows), -1, each.site.units)
            if self._loud:
                add_up(self._squares[name])
                loudness = self._squares[name].sqrt()
            found[name] = replace(each, masks=masks, loudness=loudness)
        return found
