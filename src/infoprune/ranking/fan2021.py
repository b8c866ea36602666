"""Fan2021: keep units for their mutual information with the units preserved in the site above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.errors import InputError
from infoprune.information import (
    Selection,
    block_information,
    conditional_covariance,
    ksg_of_distances,
    max_distances,
    mrmr,
    normal_scores,
    ross_of_distances,
    select_jointly,
)
from infoprune.ranking.eliminate import Elimination, by_score
from infoprune.statistics.moments import Moments
from infoprune.statistics.pairs import Pairing, Pairs, Target
from infoprune.statistics.statistics import SiteStatistics

Estimator = Literal["gaussian", "copula", "ksg"]
Redundancy = Literal["none", "mrmr", "joint"]
Aggregation = Literal["joint", "mean", "max"]

ROUNDING = 1e-12
SAMPLED = {"gaussian": None, "copula": 4096, "ksg": 512}
"""Number of tokens sampled at each site by default; the Gaussian estimator takes the moments of all tokens."""


@dataclass(frozen=True)
class Fan2021:
    r"""Marginal information with the units preserved above, from the softmax down: our reading of Fan et al. 2021.

        score_i = I(x_i ; Y),    Y = the preserved units of the next site above, at the same token

    and the units with the highest scores stay. Every choice that the published abstract leaves open is an option, and
    none of them is claimed to be the paper's (docs/research/criteria/fan2021.md).

    Args:
        estimator: "gaussian" from the moments of all tokens; "copula", the same after normal scores; "ksg", nearest
            neighbours, for small models and checks: its time grows with units times tokens squared.
        redundancy: "none" takes every unit by itself; "mrmr" subtracts the unit's information with the units already
            kept; "joint" adds greedily to I(X_S ; Y).
        aggregation: The units above are taken "joint", or one by one and then by the "mean" or the "max".
        target: What lies above the topmost site: the model's own "logits", or the "labels" of the inputs.
        smoothing: Weight of a token without gradient, as a fraction of the mean; inf weights all tokens alike.
        ridge: Ridge of the correlation matrices, whose diagonal is one.
        samples: Number of tokens sampled at each site; None means 4,096 for the copula, 512 for KSG. The Gaussian
            estimator samples none.
        neighbours: Number k of neighbours of KSG.
        name: Name on the command line.
        nats: Whether the losses are nats at the softmax; these are nats of information between sites.

    Raises:
        InputError: An option is out of range, or two do not go together.

    Source:
        C. Fan et al., *Layer-wise Model Pruning based on Mutual Information*, EMNLP 2021, abstract.

    Examples:
        >>> result = infoprune.prune(model, batches, keep=0.5, criterion=Fan2021(redundancy="mrmr"))
        >>> result.plan.criterion
        'fan2021'
    """

    estimator: Estimator = "gaussian"
    redundancy: Redundancy = "none"
    aggregation: Aggregation = "joint"
    target: Target = "logits"
    smoothing: float = 3.0
    ridge: float = 1e-2
    samples: int | None = None
    neighbours: int = 3
    name: str = "fan2021"
    nats: bool = False  # nats of information between sites, not of divergence at the softmax

    def __post_init__(self) -> None:
        for option, choices in (
            ("estimator", Estimator),
            ("redundancy", Redundancy),
            ("aggregation", Aggregation),
            ("target", Target),
        ):
            if getattr(self, option) not in get_args(choices):
                expected = " or ".join(map(repr, get_args(choices)))
                raise InputError(f"`{option}` is {getattr(self, option)!r}, expected {expected}")
        for option, least in (("smoothing", 0), ("ridge", 0), ("samples", 8), ("neighbours", 1)):
            value = getattr(self, option)
            if value is not None and not value >= least:
                raise InputError(f"`{option}` is {value}, expected {least} or more")
        if self.redundancy != "none" and self.estimator == "ksg":
            raise InputError(
                f"`redundancy` is {self.redundancy!r} with estimator 'ksg', expected 'gaussian' or 'copula' for it; "
                "use `redundancy='none'` or another estimator"
            )
        if self.redundancy == "joint" and self.aggregation != "joint":
            raise InputError(
                f"`redundancy` 'joint' has no {self.aggregation} over the units above; use `aggregation='joint'`"
            )

    @property
    def pairing(self) -> Pairing:
        """What `collect_pairs` has to collect."""
        sampled = None if self.estimator == "gaussian" else self.samples or SAMPLED[self.estimator]
        return Pairing(self.target, sampled, self.smoothing)

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by information, the least first; the losses are their scores or gains, in nats.

        Raises:
            InputError: The statistics have no pairs, or pairs for another estimator.
        """
        pairs, size = statistics.pairs, statistics.site.size
        wanted = Moments if self.estimator == "gaussian" else Tensor
        if pairs is None or not isinstance(pairs.joint, wanted):
            raise InputError(
                f"the statistics of {statistics.site.name} have no pairs for {self.name} with estimator "
                f"{self.estimator!r}; pass what collect_pairs makes of them with this criterion's pairing"
            )
        chosen = pairs.chosen(statistics.reader.device)
        if not isinstance(pairs.joint, Moments) and self.estimator == "ksg":
            return by_score(self._by_neighbours(pairs, pairs.joint[:, chosen], size))
        joint = _correlation(_of_scores(pairs.joint), self.ridge)[chosen][:, chosen]
        here, above = slice(pairs.here), slice(pairs.here, None)
        xx, xy, yy = joint[here, here], joint[here, above], joint[above, above]
        if self.redundancy == "joint":
            return _last_first(select_jointly(xx, conditional_covariance(xx, xy, yy), size))
        upper = None if self.aggregation == "joint" else pairs.size
        relevance = self._over_units(block_information(xx, xy, yy, size, upper))
        if self.redundancy == "mrmr":
            return _last_first(mrmr(relevance, block_information(xx, xx, xx, size, size)))
        return by_score(relevance)

    def _by_neighbours(self, pairs: Pairs, sample: Float[Tensor, "t n_k"], size: int) -> Float[Tensor, " units"]:
        """Return the information of every unit with those above it, by KSG, or by Ross where labels lie above."""
        sample = sample.double()
        units = _columns(_standardised(sample[:, : pairs.here]), size)
        y = sample[:, pairs.here :]
        if pairs.above is None and self.target == "labels":
            classes = (y * torch.arange(1, y.shape[1] + 1, device=y.device)).sum(1).long()
            found = [ross_of_distances(max_distances(unit), classes, neighbours=self.neighbours) for unit in units]
            return torch.tensor(found, dtype=torch.float64)
        table = []
        for above in _columns(_standardised(y), y.shape[1] if self.aggregation == "joint" else pairs.size):
            dy = max_distances(above)
            table.append([ksg_of_distances(max_distances(unit), dy, neighbours=self.neighbours) for unit in units])
        return self._over_units(torch.tensor(table, dtype=torch.float64).T)

    def _over_units(self, table: Float[Tensor, "units above"]) -> Float[Tensor, " units"]:
        return table.amax(1) if self.aggregation == "max" else table.mean(1)


def _of_scores(joint: Moments | Float[Tensor, "t n_m"]) -> Moments:
    """Return moments as they are, or those of a sample's normal scores."""
    if isinstance(joint, Moments):
        return joint
    moments = Moments.empty(joint.shape[1], joint.device)
    moments.update(normal_scores(joint))
    return moments


def _correlation(moments: Moments, ridge: float) -> Float[Tensor, "n_m n_m"]:
    """Return the correlations, a ridge added to their diagonal of one; those with a constant are zero."""
    covariance = moments.covariance
    variance = covariance.diagonal().clamp_min(0)
    varies = variance > (ROUNDING * moments.mean).square()
    scale = torch.where(varies, variance, 1.0).rsqrt() * varies
    correlation = covariance * scale[:, None] * scale
    correlation.diagonal().fill_(1 + ridge)
    return correlation


def _columns(x: Float[Tensor, "t n"], size: int) -> list[Tensor]:
    return [x[:, start : start + size] for start in range(0, x.shape[1], size)]


def _standardised(x: Float[Tensor, "t n"]) -> Float[Tensor, "t n"]:
    spread = x.std(0, correction=0)
    return (x - x.mean(0)) / torch.where(spread > 0, spread, 1.0)


def _last_first(selection: Selection) -> Elimination:
    """Return the selected units from the last to the first: what was selected last is removed first."""
    return Elimination(selection.order.flip(0), selection.gains.flip(0))
