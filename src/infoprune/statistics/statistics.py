"""Statistics: what one pass over the calibration inputs measures at every site."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from infoprune.statistics.routes import Routes
from infoprune.statistics.unit_weights import UnitWeights
from infoprune.structure.site import Site


@dataclass(frozen=True)
class SiteStatistics:
    """Statistics of one site, whose reader maps n coordinates to o outputs.

    Args:
        site: Site that was measured. For the hidden size it is one of the points where the residual stream is read.
            There y is x: `reader` is the identity, and `fisher` is that of all readers at this point together, at what
            they read. For experts there are `routes` alone; the matrices are empty. For the neurons inside an expert
            the tokens are those that read it, and their inputs are multiplied by the weights with which they do.
        tokens: Moments of the reader's input, (n,) and (n, n). Every real token counts once, except tokens that are
            more than 4 times as long as the median of their text, which count less (see `huber_weights`).
        importance: The same moments, with every token weighted by its squared gradient.
        fisher: Fisher information at the reader's output, (o, o) float64, in nats per squared output unit, summed over
            the tokens of an input and averaged over inputs: half of x^T fisher x is, to leading order, the KL
            divergence that a shift x of one token causes, added up over the tokens of an input.
        reader: Weight of the reader, (o, n) float64.
        centred: Whether the reader has a bias, which takes up the change of the mean that a cut causes.
        produced: Euclidean norm of the rows that produce a unit, (units,) float64.
        produced_sum: Sum of the absolute values of these rows, (units,) float64.
        smoothing: Weight of a token without gradient, as a fraction of the mean; inf weights all tokens alike.
        shrinkage: Ridge of the covariance, as a fraction of its mean diagonal.
        pairs: Units beside what lies above them, from `collect_pairs`.
        masks: Derivatives of the model's prediction with respect to a factor on every unit, where `collect` was asked
            for "masks".
        activation_norm: Root of the sum over inputs of the squared mean length of a unit's coordinates, (units,)
            float64, where `collect` was asked for it.
        routes: Routes of the tokens, for experts.
    """

    site: Site
    tokens: Moments
    importance: Moments
    fisher: Float[Tensor, "o o"]
    reader: Float[Tensor, "o n"]
    centred: bool
    produced: Float[Tensor, " units"]
    produced_sum: Float[Tensor, " units"]
    smoothing: float
    shrinkage: float
    pairs: Pairs | None = None
    masks: Float[Tensor, "inputs directions units"] | None = None
    activation_norm: Float[Tensor, " units"] | None = None
    routes: Routes | None = None

    @classmethod
    def empty(cls, model: nn.Module, site: Site, smoothing: float, shrinkage: float) -> SiteStatistics:
        """Return the statistics of no tokens."""
        weights = UnitWeights.of(model, site)
        outputs, inputs = weights.reader.shape
        device = weights.reader.device
        return cls(
            site=site,
            tokens=Moments.empty(inputs, device),
            importance=Moments.empty(inputs, device),
            fisher=torch.zeros(outputs, outputs, dtype=torch.float64, device=device),
            reader=weights.reader,
            centred=weights.centred,
            produced=weights.produced,
            produced_sum=weights.produced_sum,
            smoothing=smoothing,
            shrinkage=shrinkage,
        )

    @property
    def second_moment(self) -> Float[Tensor, "n n"]:
        """Mean of x x^T about zero, not weighted by importance: what criteria without gradients use."""
        moments = self.tokens
        return moments.covariance.addr_(moments.mean, moments.mean)

    @property
    def moments(self) -> Moments:
        """Moments with token weights |g|^2 / mean(|g|^2) + smoothing; all tokens alike where none has a gradient.

        They are mixed anew at every access: keeping the mixture would double the memory of the statistics.
        """
        if self.importance.weight <= 0 or math.isinf(self.smoothing):
            return self.tokens
        mixed = self.importance.scaled(self.tokens.weight / self.importance.weight)
        mixed.merge(self.tokens.scaled(self.smoothing))
        return mixed

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """C + shrinkage mean(diag C) 1 of the weighted moments, about zero where no bias takes up the mean.

        The identity where C is zero.
        """
        moments = self.moments
        covariance = moments.covariance
        if not self.centred:
            covariance.addr_(moments.mean, moments.mean)
        level = float(covariance.diagonal().mean())
        covariance.diagonal().add_(self.shrinkage * level if level > 0 else 1.0)
        return covariance


class SomeSites(Mapping[str, SiteStatistics]):
    """Mapping of sites whose statistics are made when they are accessed.

    Args:
        names: Names of the sites, bottom to top.
        make: Function that gives the statistics of a site.
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
    """Statistics of all sites, bottom to top, and of the inputs that they came from.

    Args:
        sites: Statistics by site name; read from disk one by one where they would not fit into memory.
        model_type: Model type from the config.
        inputs: Number of inputs.
        tokens: Number of tokens, padding not counted.
        importance: Importance |g|^2 of each token, for every site and batch, (batch, length) float32: four bytes per
            token and site. Besides masks it is the only part that grows with the inputs. The repair weights its
            regression with it.
        levels: Mean token importance by site name.
        keys: Keys of the batches in `importance`, as `key_of` gives them.
        fisher: Fisher information at the readers of neurons that are not among `sites`, (o, o) float32 by site name,
            see `SiteStatistics`: the metric in which the repair re-fits neurons.
    """

    sites: Mapping[str, SiteStatistics]
    model_type: str
    inputs: int
    tokens: int
    importance: dict[str, tuple[Float[Tensor, "_ _"], ...]]
    levels: dict[str, float]
    keys: tuple[int, ...]
    fisher: dict[str, Float[Tensor, "_ _"]] = field(default_factory=dict)

    def for_repair(self) -> Statistics:
        """Return only what a repair needs, so that the moments can be freed."""
        fisher = {name: each.fisher.float() for name, each in self.sites.items() if each.site.structure == "ffn"}
        return replace(self, sites={}, fisher={**self.fisher, **fisher})

    def fisher_at(self, name: str) -> Float[Tensor, "_ _"] | None:
        """Return the Fisher information at the reader of a site's neurons; None where it was not collected."""
        return self.sites[name].fisher if name in self.sites else self.fisher.get(name)

    def joined(self, other: Statistics) -> Statistics:
        """Return these statistics with those of other sites on the same inputs; these count where both have a site."""
        sites = ChainMap(cast(dict[str, SiteStatistics], self.sites), cast(dict[str, SiteStatistics], other.sites))
        return replace(
            self,
            sites=sites,
            importance={**other.importance, **self.importance},
            fisher={**other.fisher, **self.fisher},
            levels={**other.levels, **self.levels},
        )

    def of_sites(self, names: Sequence[str]) -> Statistics:
        """Return the statistics of some of the sites.

        Raises:
            InputError: There is no such site.
        """
        missing = [name for name in names if name not in self.sites]
        if missing:
            raise InputError(
                f"the statistics do not have {missing[0]}, expected all sites that are to be cut; collect those too"
            )
        importance, levels = (
            {name: self.importance[name] for name in names},
            {name: self.levels[name] for name in names},
        )
        return replace(self, sites=SomeSites(names, self.sites.__getitem__), importance=importance, levels=levels)

    def covers(self, batches: Sequence[Batch]) -> bool:
        """Return whether the token importance of these batches, and of those of other processes, is known."""
        unknown = {key_of(batch) for batch in batches} - set(self.keys)
        return total(len(unknown)) == (0,)

    def among(self, batches: Sequence[Batch]) -> Statistics:
        """Return the statistics with the token importance of these batches alone, in their order.

        Raises:
            InputError: The statistics are of other batches.
        """
        if not self.covers(batches):
            raise InputError(
                "the statistics are of other batches, expected those that they were collected from; pass those, "
                "or leave out `statistics`"
            )
        position = {key: index for index, key in enumerate(self.keys)}
        keys = tuple(key_of(batch) for batch in batches)
        importance = {name: tuple(each[position[key]] for key in keys) for name, each in self.importance.items()}
        return replace(self, importance=importance, keys=keys)


def token_weights(
    statistics: Statistics, site: str, masks: Sequence[Bool[Tensor, "_ _"]], smoothing: float
) -> list[Float[Tensor, "_ _"]]:
    """Return |g|^2 / mean(|g|^2) + smoothing for every token (batch, length) of every batch, zero for padding."""
    mean = statistics.levels.get(site, 0.0)
    if mean <= 0 or smoothing == float("inf"):
        return [exact(mask) for mask in masks]
    return [
        (exact(w).to(mask.device) / mean + smoothing) * mask
        for w, mask in zip(statistics.importance[site], masks, strict=True)
    ]
