"""Site shape: the sizes of a site's matrices."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from infoprune.repairing.neurons import PER_INPUT
from infoprune.statistics.on_disk import site_bytes
from infoprune.structure.linear import linear
from infoprune.structure.site import Site


@dataclass(frozen=True)
class SiteShape:
    """Sizes of a site's matrices.

    Args:
        outputs: Outputs of the reader.
        inputs: Inputs of the reader.
        bytes: Bytes of the site's statistics.
        producers: (rows, inputs) of every producer that a repair re-fits.
        neurons: Whether the units are neurons.
        weights: Number of weights that the units have.
        apart: Rows of the producers that are re-fitted before others which read another tensor, in cross-attention.
    """

    outputs: int
    inputs: int
    bytes: int
    producers: tuple[tuple[int, int], ...]
    neurons: bool
    weights: int
    apart: int = 0

    @classmethod
    def of(cls, model: nn.Module, site: Site) -> SiteShape:
        """Return the sizes of a site of a model."""
        if site.routing is not None:  # the answer of every expert passes through a matrix
            coordinates = model.get_parameter(f"{site.routing.router}.weight").shape[1]
            cut = sum(model.get_parameter(name).numel() for name in site.cut_parameters)
            return cls(coordinates, coordinates, site_bytes(0, site.units, site.units), (), False, cut)
        outputs, inputs = linear(model, site.reader).weight.shape
        producers = tuple(tuple(linear(model, each.module).weight.shape) for each in site.refit)
        size = site_bytes(outputs, inputs, site.units)
        cut = outputs * inputs + sum(rows * columns for rows, columns in producers)
        apart = [
            rows
            for (rows, _), each in zip(producers, site.refit, strict=True)
            if site.crossing and each.module not in site.crossing
        ]
        return cls(outputs, inputs, size, producers, site.structure == "ffn", cut, sum(apart))  # type: ignore[arg-type]

    def refits_neurons(self, tokens: int) -> bool:
        """Return whether a repair on so many tokens re-fits the producers of the neurons together with the reader."""
        return self.neurons and tokens >= PER_INPUT * self.producers[0][1]

    @property
    def parts(self) -> int:
        """Number of rows that produce a neuron."""
        return sum(rows for rows, _ in self.producers) // self.inputs
