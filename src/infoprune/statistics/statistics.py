"""Statistics: what one pass over the calibration inputs tells about every site."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from infoprune.statistics.moments import Moments
from infoprune.statistics.pairs import Pairs
from infoprune.statistics.precision import exact
from infoprune.structure.linear import linear
from infoprune.structure.sites import Site
from infoprune.structure.stream import Place


@dataclass(frozen=True)
class SiteStatistics:
    """What one pass tells about a site; n coordinates are read into o outputs.

    Args:
        site: where.
        tokens: moments of the reader's input, every real token counted once, (n,) and (n, n).
        worth: the same, every token weighted by its squared gradient.
        demand: (o, o) float64, Fisher information at the reader's output in nats per squared output unit, summed over
            the tokens of an input and averaged over inputs: half of x^T demand x is, to leading order, the KL
            divergence that a shift x of one token causes, added up over the tokens of an input.
        reader: (o, n) float64, the weight of the reader.
        centred: whether the reader has a bias, which takes up what a cut does to the mean.
        produced: (units,) float64, Euclidean norm of the rows that produce a unit.
        floor: token weight of a token without gradient, a fraction of the mean; inf weighs all tokens alike.
        ridge: shrinkage of the covariance, a fraction of its mean diagonal.
        pairs: the units beside what stands above them, where `collect_pairs` was asked for it.
        modules: paths of the readers that take over what is lost.
        others: of a site whose units are read at several places (the width): all places but this one. There y is x:
            `reader` is the identity, and `demand` is that of all modules of the place together, at what they read.
    """

    site: Site
    tokens: Moments
    worth: Moments
    demand: Float[Tensor, "o o"]
    reader: Float[Tensor, "o n"]
    centred: bool
    produced: Float[Tensor, " units"]
    floor: float
    ridge: float
    pairs: Pairs | None = None
    modules: tuple[str, ...] = ()
    others: tuple[SiteStatistics, ...] = ()

    @property
    def places(self) -> tuple[SiteStatistics, ...]:
        """All places where the units are read."""
        return (self, *self.others)

    @classmethod
    def at(cls, model: nn.Module, site: Site, place: Place, floor: float, ridge: float) -> SiteStatistics:
        """Statistics of no tokens, of one place where the residual stream is read."""
        readers = [linear(model, path) for path in place.modules]
        weights = [exact(linear(model, path).weight) for path in site.readers]
        written = [exact(linear(model, producer.module).weight).T for producer in site.producers]
        device = weights[0].device
        return cls(
            site=site,
            tokens=Moments.empty(site.units, device),
            worth=Moments.empty(site.units, device),
            demand=torch.zeros(site.units, site.units, dtype=torch.float64, device=device),
            reader=torch.eye(site.units, dtype=torch.float64, device=device),
            centred=all(reader.bias is not None for reader in readers),
            produced=sum((w.square().sum(0) for w in (*weights, *written)), torch.zeros(())).sqrt(),
            floor=floor,
            ridge=ridge,
            modules=tuple(path for path in place.modules if path not in _tied(site)),
        )

    @classmethod
    def empty(cls, model: nn.Module, site: Site, floor: float, ridge: float) -> SiteStatistics:
        """Statistics of no tokens."""
        reader = linear(model, site.reader)
        weight = exact(reader.weight)
        outputs, inputs = weight.shape
        produced = torch.zeros(site.units, dtype=torch.float64, device=weight.device)
        for producer in site.producers:
            rows = exact(linear(model, producer.module).weight).square().sum(1)
            produced.index_add_(0, producer.owners(site.units).to(rows.device), rows)
        return cls(
            site=site,
            tokens=Moments.empty(inputs, weight.device),
            worth=Moments.empty(inputs, weight.device),
            demand=torch.zeros(outputs, outputs, dtype=torch.float64, device=weight.device),
            reader=weight,
            centred=reader.bias is not None,
            produced=produced.sqrt(),
            floor=floor,
            ridge=ridge,
            modules=(site.reader,),
        )

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


def _tied(site: Site) -> tuple[str, ...]:
    return () if site.residual is None else site.residual.tied


@dataclass(frozen=True)
class Statistics:
    """Statistics of all sites, bottom to top, and of the inputs they came from.

    Args:
        sites: by site name.
        model_type: of the model.
        inputs: how many texts were seen.
        tokens: how many tokens, padding not counted.
        worth: for every site and batch the worth |g|^2 of each token, (batch, length) float32: four bytes per token and
            site, the one thing here that grows with the inputs; the repair weighs its regression with it.
    """

    sites: dict[str, SiteStatistics]
    model_type: str
    inputs: int
    tokens: int
    worth: dict[str, tuple[Float[Tensor, "_ _"], ...]]

    def worth_alone(self) -> Statistics:
        """Only what a repair needs, so that the moments can be forgotten."""
        return replace(self, sites={})

    def joined(self, other: Statistics) -> Statistics:
        """These statistics, and those of other sites on the same inputs; where both have a site, this one's stand."""
        return replace(self, sites={**other.sites, **self.sites}, worth={**other.worth, **self.worth})


def token_weights(
    statistics: Statistics, site: str, masks: Sequence[Bool[Tensor, "_ _"]], floor: float
) -> list[Float[Tensor, "_ _"]]:
    """|g|^2 / mean(|g|^2) + floor for every token (batch, length) of every batch, zero for padding."""
    worth = statistics.worth.get(site)
    mean = 0.0 if worth is None else sum(float(w.sum()) for w in worth) / max(statistics.tokens, 1)
    if worth is None or mean <= 0 or floor == float("inf"):
        return [exact(mask) for mask in masks]
    return [(exact(w).to(mask.device) / mean + floor) * mask for w, mask in zip(worth, masks, strict=True)]
