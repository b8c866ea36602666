"""Statistics: what one pass over the calibration inputs tells about every site."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from infoprune.errors import InputError
from infoprune.processes import total
from infoprune.statistics.calibration import Batch, key_of
from infoprune.statistics.moments import Moments
from infoprune.statistics.pairs import Pairs
from infoprune.statistics.precision import exact
from infoprune.structure.linear import linear
from infoprune.structure.offload import present
from infoprune.structure.site import Site


@dataclass(frozen=True)
class SiteStatistics:
    """What one pass tells about a site; n coordinates are read into o outputs.

    Args:
        site: where; of the width one of the places that read the stream. There y is x: `reader` is the identity, and
            `demand` is that of all readers together, at what they read.
        tokens: moments of the reader's input, every real token counted once, but for those that are hundreds of times
            as long as others of their text, which count for less (see `tempered`), (n,) and (n, n).
        worth: the same, every token weighted by its squared gradient.
        demand: (o, o) float64, Fisher information at the reader's output in nats per squared output unit, summed over
            the tokens of an input and averaged over inputs: half of x^T demand x is, to leading order, the KL
            divergence that a shift x of one token causes, added up over the tokens of an input.
        reader: (o, n) float64, the weight of the reader.
        centred: whether the reader has a bias, which takes up what a cut does to the mean.
        produced: (units,) float64, Euclidean norm of the rows that produce a unit.
        produced_sum: (units,) float64, sum of the absolute values of these rows.
        floor: token weight of a token without gradient, a fraction of the mean; inf weighs all tokens alike.
        ridge: shrinkage of the covariance, a fraction of its mean diagonal.
        pairs: the units beside what stands above them, where `collect_pairs` was asked for it.
        masks: what the model's answer says of a factor on every unit, where `collect` was asked for "masks".
        loudness: (units,) float64, the root of the sum over inputs of the squared mean length of a unit's coordinates,
            where `collect` was asked for it.
    """

    site: Site
    tokens: Moments
    worth: Moments
    demand: Float[Tensor, "o o"]
    reader: Float[Tensor, "o n"]
    centred: bool
    produced: Float[Tensor, " units"]
    produced_sum: Float[Tensor, " units"]
    floor: float
    ridge: float
    pairs: Pairs | None = None
    masks: Float[Tensor, "inputs directions units"] | None = None
    loudness: Float[Tensor, " units"] | None = None

    @classmethod
    def empty(cls, model: nn.Module, site: Site, floor: float, ridge: float) -> SiteStatistics:
        """Statistics of no tokens."""
        if site.streams:
            return cls._of_stream(model, site, floor, ridge)
        with present(model, site.reader):
            reader = linear(model, site.reader)
            weight = exact(reader.weight)
        outputs, inputs = weight.shape
        squares = torch.zeros(site.units, dtype=torch.float64, device=weight.device)
        sums = torch.zeros_like(squares)
        for producer in site.producers:
            with present(model, producer.module):
                rows = exact(linear(model, producer.module).weight).to(squares.device)
            owners = producer.owners(site.units).to(squares.device)
            squares.index_add_(0, owners, rows.square().sum(1))
            sums.index_add_(0, owners, rows.abs().sum(1))
        return cls(
            site=site,
            tokens=Moments.empty(inputs, weight.device),
            worth=Moments.empty(inputs, weight.device),
            demand=torch.zeros(outputs, outputs, dtype=torch.float64, device=weight.device),
            reader=weight,
            centred=reader.bias is not None,
            produced=squares.sqrt(),
            produced_sum=sums,
            floor=floor,
            ridge=ridge,
        )

    @classmethod
    def _of_stream(cls, model: nn.Module, site: Site, floor: float, ridge: float) -> SiteStatistics:
        readers = [linear(model, path) for path in site.readers]
        with present(model, site.reader):
            identity = torch.eye(site.units, dtype=torch.float64, device=exact(readers[0].weight).device)
        squares = torch.zeros(site.units, dtype=torch.float64, device=identity.device)
        sums = torch.zeros_like(squares)
        for producer in site.producers:
            with present(model, producer.module):
                rows = exact(linear(model, producer.module).weight).to(squares.device)
            squares += rows.square().sum(1)
            sums += rows.abs().sum(1)
        return cls(
            site=site,
            tokens=Moments.empty(site.units, identity.device),
            worth=Moments.empty(site.units, identity.device),
            demand=torch.zeros_like(identity),
            reader=identity,
            centred=all(reader.bias is not None for reader in readers),
            produced=squares.sqrt(),
            produced_sum=sums,
            floor=floor,
            ridge=ridge,
        )

    @property
    def second_moment(self) -> Float[Tensor, "n n"]:
        """Mean of x x^T over all real tokens alike, about zero: what criteria without gradients look at."""
        moments = self.tokens
        return moments.covariance.addr_(moments.mean, moments.mean)

    @property
    def moments(self) -> Moments:
        """Moments with token weights |g|^2 / mean(|g|^2) + floor; all tokens alike where none has worth.

        Mixed anew at every call: keeping the mixture would double the memory of the statistics.
        """
        if self.worth.weight <= 0 or math.isinf(self.floor):
            return self.tokens
        mixed = self.worth.scaled(self.tokens.weight / self.worth.weight)
        mixed.merge(self.tokens.scaled(self.floor))
        return mixed

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """C + ridge mean(diag C) 1 of the weighted moments, about zero where no bias takes up the mean.

        The identity where nothing ever moves.
        """
        moments = self.moments
        covariance = moments.covariance
        if not self.centred:
            covariance.addr_(moments.mean, moments.mean)
        level = float(covariance.diagonal().mean())
        covariance.diagonal().add_(self.ridge * level if level > 0 else 1.0)
        return covariance


class SomeSites(Mapping[str, SiteStatistics]):
    """Sites that are made when they are asked for.

    Args:
        names: of the sites, bottom to top.
        make: gives the statistics of a site.
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], SiteStatistics]) -> None:
        self._names, self._make = dict.fromkeys(names), make

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> SiteStatistics:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)


@dataclass(frozen=True)
class Statistics:
    """Statistics of all sites, bottom to top, and of the inputs they came from.

    Args:
        sites: by site name; where they would not fit into memory, read from disk one by one.
        model_type: of the model.
        inputs: how many texts were seen.
        tokens: how many tokens, padding not counted.
        worth: for every site and batch the worth |g|^2 of each token, (batch, length) float32: four bytes per token and
            site, the one thing here that grows with the inputs; the repair weighs its regression with it.
        levels: by site name, the mean worth of a token.
        keys: of the batches in `worth`, as `key_of` gives them.
    """

    sites: Mapping[str, SiteStatistics]
    model_type: str
    inputs: int
    tokens: int
    worth: dict[str, tuple[Float[Tensor, "_ _"], ...]]
    levels: dict[str, float]
    keys: tuple[int, ...]

    def worth_alone(self) -> Statistics:
        """Only what a repair needs, so that the moments can be forgotten."""
        return replace(self, sites={})

    def joined(self, other: Statistics) -> Statistics:
        """These statistics, and those of other sites on the same inputs; where both have a site, this one's stand."""
        sites = ChainMap(cast(dict[str, SiteStatistics], self.sites), cast(dict[str, SiteStatistics], other.sites))
        return replace(self, sites=sites, worth={**other.worth, **self.worth}, levels={**other.levels, **self.levels})

    def of_sites(self, names: Sequence[str]) -> Statistics:
        """Of some of the sites alone.

        Raises:
            InputError: there is no such site.
        """
        missing = [name for name in names if name not in self.sites]
        if missing:
            raise InputError(
                f"the statistics do not have {missing[0]}, expected all sites that are to be cut; collect them too"
            )
        worth, levels = {name: self.worth[name] for name in names}, {name: self.levels[name] for name in names}
        return replace(self, sites=SomeSites(names, self.sites.__getitem__), worth=worth, levels=levels)

    def covers(self, batches: Sequence[Batch]) -> bool:
        """Whether the worth of all tokens of these batches, and of those of other processes, is known."""
        unknown = {key_of(batch) for batch in batches} - set(self.keys)
        return total(len(unknown)) == (0,)

    def among(self, batches: Sequence[Batch]) -> Statistics:
        """The same, with the worth of the tokens of these batches alone, in their order.

        Raises:
            InputError: the statistics are of other batches.
        """
        if not self.covers(batches):
            raise InputError(
                "the statistics are of other batches, expected those that they were collected from; pass those, "
                "or no statistics"
            )
        place = {key: index for index, key in enumerate(self.keys)}
        keys = tuple(key_of(batch) for batch in batches)
        worth = {name: tuple(each[place[key]] for key in keys) for name, each in self.worth.items()}
        return replace(self, worth=worth, keys=keys)


def token_weights(
    statistics: Statistics, site: str, masks: Sequence[Bool[Tensor, "_ _"]], floor: float
) -> list[Float[Tensor, "_ _"]]:
    """|g|^2 / mean(|g|^2) + floor for every token (batch, length) of every batch, zero for padding."""
    mean = statistics.levels.get(site, 0.0)
    if mean <= 0 or floor == float("inf"):
        return [exact(mask) for mask in masks]
    return [
        (exact(w).to(mask.device) / mean + floor) * mask for w, mask in zip(statistics.worth[site], masks, strict=True)
    ]
