"""Re-fit steps: the modules that a repair re-fits, and the outputs of the dense model that they are fitted to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import kept_within
from infoprune.repairing.lockstep import PausePoint
from infoprune.structure.linear import linear
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, find_sites, sites_by_name
from infoprune.structure.slices import Slice
from infoprune.structure.stream import Stream, stack_of


@dataclass(frozen=True)
class RefitStep:
    """Module to re-fit.

    Args:
        module: Path of the linear module, norm or module of experts.
        importance: Name of the site or read point whose token importance weighs the regression.
        stream: Path of a module whose first input is the residual that is added to the output, or None.
        kept_outputs: Outputs of the dense module that the module still has; None for all.
        reads: Whether the module reads units that were cut or changed by the cut; False for producers.
        norm: Whether the module is a norm, with a gain and perhaps a bias for every coordinate.
        neurons: Producers of the neurons that the module reads, so that both can be re-fitted together; else empty.
        units: Number of these neurons.
        experts: Site whose experts the module holds, or of the neurons inside them where these were cut; else None.
        scale: Factors by which the output is multiplied before the residual is added, see `Site`.
        early: Whether it is fitted to what the dense weights make of the dense input, so that the dense module need not
            have run: a linear module that is seldom narrower than what it reads, and has no residual.
    """

    module: str
    importance: str
    stream: str | None
    kept_outputs: Int[Tensor, " outputs"] | None
    reads: bool
    norm: bool = False
    neurons: tuple[Slice, ...] = ()
    units: int = 0
    experts: Site | None = None
    scale: str | float | None = None
    early: bool = False

    @property
    def is_linear(self) -> bool:
        """Whether the module is a linear one."""
        return not self.norm and self.experts is None

    @property
    def point(self) -> PausePoint:
        """Where the passes of the pruned model pause."""
        return PausePoint(self.module, self.stream, self.scale, before=self.is_linear)

    @property
    def dense_point(self) -> PausePoint:
        """Where the passes of the dense model pause: after a reader, whose input is wider than its output."""
        return PausePoint(self.module, self.stream, self.scale, before=self.early)

    @property
    def stack(self) -> str:
        """Stack whose tokens pass the module."""
        return stack_of(self.importance)


def refit_steps(small: PreTrainedModel, dense: PreTrainedModel) -> dict[str, RefitStep]:
    """Return by path all steps of a repair; above the layers and along the stream only for sites that were cut."""
    whole = sites_by_name(dense, empty=True)
    kept = {
        name: torch.tensor(kept_within(small, dense, name, site.units), dtype=torch.long)
        for name, site in whole.items()
    }
    for name, site in sites_by_name(small, empty=True).items():
        if name in kept and not site.streams and site.units != len(kept[name]):
            raise InputError(
                f"the small model has {site.units} units of {name}, and no plan says which of the {whole[name].units} "
                "they are; open it from a folder with its plan.json"
            )
    cut = {name for name, site in whole.items() if len(kept[name]) < site.units}
    outputs = {
        producer.module: producer.rows(kept[name], whole[name].units)
        for name in cut
        for producer in whole[name].producers
    }
    streams = [whole[name] for name in whole if name in cut and whole[name].streams]
    always = {site.name for site in find_sites(dense, empty=True)}
    top = [site.name for site in whole.values() if site.name in always and site.stack == "layers"][-1:]
    found: dict[str, RefitStep] = {}
    for site in every_site(small, empty=True):  # the reader of an empty site still has a bias
        if site.residual is None and (site.name in always or site.name in cut or streams):
            for producer in site.refit:
                # the encoder's output has the token importance of the encoder's last site
                importance = top[0] if producer.module in site.crossing else site.name
                found[producer.module] = RefitStep(
                    producer.module, importance, None, outputs.get(producer.module), False, early=True
                )
            neurons = site.producers if site.structure == "ffn" and site.units > 0 else ()
            found[site.reader] = RefitStep(
                site.reader,
                site.measured[0].name,
                site.stream,
                outputs.get(site.reader),
                True,
                neurons=neurons,
                units=site.units,
                scale=site.scale,
                experts=None if site.routing is None else site,
            )
    coordinates = {
        path: kept[site.name] for site in whole.values() if site.residual is not None for path in _tables(site, cut)
    }
    for site in streams:
        if site.residual is not None:
            found |= {each.module: each for each in _along(small, site.residual, outputs, coordinates)}
    return found


def _tables(site: Site, cut: Collection[str]) -> tuple[str, ...]:
    """Return the paths of the tables of a stream if some of its coordinates were cut."""
    return site.residual.tables if site.residual is not None and site.name in cut else ()


def _along(
    small: PreTrainedModel, stream: Stream, outputs: Mapping[str, Tensor], coordinates: Mapping[str, Tensor]
) -> Iterator[RefitStep]:
    """Yield the steps of a stream: its norms and readers, but for readers tied to the embeddings or without outputs."""
    for point in stream.read_points:
        if point.norm is not None and getattr(small.get_submodule(point.norm), "weight", None) is not None:
            yield RefitStep(point.norm, point.name, None, coordinates.get(point.norm), reads=True, norm=True)
        for path in point.modules:
            if path not in stream.tied and len(linear(small, path).weight) > 0:
                yield RefitStep(path, point.name, None, outputs.get(path), reads=True, early=True)
