"""Places: what a repair re-fits, and toward which rows of the dense model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.plan import kept_within
from infoprune.structure.linear import linear
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, find_sites, sites_by_name
from infoprune.structure.slices import Slice
from infoprune.structure.stream import Stream, stack_of


@dataclass(frozen=True)
class Place:
    """A module to re-fit.

    Args:
        module: its path: a linear module, or a norm.
        worth: name of the site or place whose worth of tokens weighs the regression.
        stream: path of a module whose first input is the residual that is added to the output, or None.
        rows: which outputs of the dense module it still has; None for all.
        reads: whether it reads units that were cut, or whose inputs the cut has changed.
        norm: a norm has a gain and, perhaps, a bias for every coordinate.
        neurons: what writes the neurons that are read here, so that both can be re-fitted together; empty elsewhere.
        units: how many neurons.
    """

    module: str
    worth: str
    stream: str | None
    rows: Int[Tensor, " rows"] | None
    reads: bool
    norm: bool = False
    neurons: tuple[Slice, ...] = ()
    units: int = 0

    @property
    def stack(self) -> str:
        """Whose tokens pass here."""
        return stack_of(self.worth)


def places_of(small: PreTrainedModel, dense: PreTrainedModel) -> dict[str, Place]:
    """By path, all that a repair of a cut model re-fits; above the layers and along the stream only what was cut."""
    whole = sites_by_name(dense, empty=True)
    kept = {
        name: torch.tensor(kept_within(small, dense, name, site.units), dtype=torch.long)
        for name, site in whole.items()
    }
    cut = {name for name, site in whole.items() if len(kept[name]) < site.units}
    rows = {
        producer.module: producer.rows(kept[name], whole[name].units)
        for name in cut
        for producer in whole[name].producers
    }
    streams = [whole[name] for name in whole if name in cut and whole[name].streams]
    always = {site.name for site in find_sites(dense, empty=True)}
    top = [site.name for site in whole.values() if site.name in always and site.stack == "layers"][-1:]
    found: dict[str, Place] = {}
    for site in every_site(small, empty=True):  # of an empty one the bias is left
        if site.residual is None and (site.name in always or site.name in cut or streams):
            for producer in site.refit:
                # what the encoder has written is worth what the encoder's last site is
                worth = top[0] if producer.module in site.crossing else site.name
                found[producer.module] = Place(producer.module, worth, None, rows.get(producer.module), False)
            neurons = site.producers if site.kind == "ffn" and site.units > 0 else ()
            found[site.reader] = Place(
                site.reader, site.name, site.stream, rows.get(site.reader), True, neurons=neurons, units=site.units
            )
    coordinates = {
        path: kept[site.name] for site in whole.values() if site.residual is not None for path in _tables(site, cut)
    }
    for site in streams:
        if site.residual is not None:
            found |= {each.module: each for each in _along(small, site.residual, rows, coordinates)}
    return found


def _tables(site: Site, cut: Collection[str]) -> tuple[str, ...]:
    """Paths of the vectors of the stream, if some of their coordinates were cut."""
    return site.residual.tables if site.residual is not None and site.name in cut else ()


def _along(
    small: PreTrainedModel, stream: Stream, rows: Mapping[str, Tensor], coordinates: Mapping[str, Tensor]
) -> Iterator[Place]:
    """The norms of the stream and all that reads it, but for what is tied to the embeddings and what says nothing."""
    for place in stream.places:
        if place.norm is not None and getattr(small.get_submodule(place.norm), "weight", None) is not None:
            yield Place(place.norm, place.name, None, coordinates.get(place.norm), reads=True, norm=True)
        for path in place.modules:
            if path not in stream.tied and len(linear(small, path).weight) > 0:
                yield Place(path, place.name, None, rows.get(path), reads=True)
