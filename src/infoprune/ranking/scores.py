"""Scores: criteria that score every unit by itself. docs/research/criteria/ has a card of each.

x is the input of a reader W. The score of a head, a unit of several coordinates, is the sum or the mean over them, as
in its source.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.errors import InputError
from infoprune.ranking.eliminate import Elimination, by_score
from infoprune.statistics.extras import Extra
from infoprune.statistics.statistics import SiteStatistics

SEEN = 1e-12
"""Variance of scores, relative to their squared mean, below which they differ by rounding only."""


@dataclass(frozen=True)
class Magnitude:
    """Euclidean norm of all weights that write or read a unit: the classic criterion that needs no data."""

    name: str = "magnitude"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by norm, the smallest first; the losses are squared norms, not nats."""
        read = _units(statistics.reader.square().sum(0), statistics).sum(1)
        return by_score(statistics.produced.square() + read)

    def rank_experts(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the experts by the norm of their weights, the smallest first; the losses are squared norms."""
        return by_score(statistics.produced.square())


@dataclass(frozen=True)
class MagnitudeSum:
    """Sum of the absolute weights that write or read a unit (L1).

    Source:
        H. Li et al., *Pruning filters for efficient ConvNets*, ICLR 2017, section 3.1, for both sides of a unit.
    """

    name: str = "magnitude-l1"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by their sums, the smallest first; the losses are these sums."""
        return by_score(statistics.produced_sum + _units(statistics.reader.abs().sum(0), statistics).sum(1))


@dataclass(frozen=True)
class Activation:
    r"""Activation norm of a unit: score_u = sqrt(sum over inputs of (mean_t |x_t,u|)^2), |.| Euclidean for a head.

    Source:
        S. Muralidharan et al., *Compact language models via pruning and knowledge distillation* (Minitron), NeurIPS
        2024, section 2.2, with the mean over the sequence and L2 over the batch.
    """

    name: str = "activation"
    nats: bool = False
    extras: frozenset[Extra] = frozenset({"activation_norm"})

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by activation norm, the smallest first; the losses are the scores.

        Raises:
            InputError: `collect` was not asked for "activation_norm".
        """
        if statistics.activation_norm is None:
            raise _not_collected(self.name, "activation_norm", statistics)
        return by_score(statistics.activation_norm)


@dataclass(frozen=True)
class Wanda:
    r"""Wanda's weight score added up over a column: score_u = sum_{i in u} mean_o |W_oi| sqrt(E x_i^2).

    Source:
        M. Sun et al., *A simple and effective pruning approach for large language models*, ICLR 2024, equation (1);
        structured as the baseline Wanda-sp in Y. An et al., AAAI 2024.
    """

    name: str = "wanda"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by score, the smallest first; the losses are the scores."""
        norms = statistics.second_moment.diagonal().clamp_min(0).sqrt()
        return by_score(_units(statistics.reader.abs().mean(0) * norms, statistics).sum(1))


@dataclass(frozen=True)
class Flap:
    r"""Fluctuation that a unit causes at its reader: s_i = var(x_i) |W_:i|^2, standardised by site, mean over a head.

    A unit that does not vary can be a constant, which the bias takes over: FLAP's own repair adds W_D E[x_D] to it.

    Source:
        Y. An et al., *Fluctuation-based adaptive structured pruning for large language models*, AAAI 2024, equations
        (4) to (6). The variance is the unbiased one of all tokens.
    """

    name: str = "flap"
    nats: bool = False

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by score, smallest first; the losses are standardised scores, comparable between sites."""
        tokens = statistics.tokens
        variance = tokens.covariance.diagonal() * (tokens.weight / max(tokens.weight - 1, 1))
        scores = variance * statistics.reader.square().sum(0)
        spread, mean = scores.var(), scores.mean()
        scale = spread.sqrt() if len(scores) > 1 and spread > SEEN * mean.square() else torch.ones_like(mean)
        return by_score(_units((scores - mean) / scale, statistics).mean(1))


@dataclass(frozen=True)
class Taylor:
    r"""First-order change of the log-likelihood: score_u = mean over inputs of |d log p / d m_u|, m_u a factor on u.

    The outcome is that of the model's own prediction, so that no labels are needed: over several possible outcomes the
    absolute value is the root mean square.

    Source:
        P. Molchanov et al., *Importance estimation for neural network pruning*, CVPR 2019, equation (8); P. Michel et
        al., *Are sixteen heads really better than one?*, NeurIPS 2019, equation (2).
    """

    name: str = "taylor"
    nats: bool = False
    extras: frozenset[Extra] = frozenset({"masks"})

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by score, the smallest first; the losses are the scores.

        Raises:
            InputError: `collect` was not asked for "masks".
        """
        if statistics.masks is None:
            raise _not_collected(self.name, "masks", statistics)
        return by_score(statistics.masks.double().square().sum(1).sqrt().mean(0))


@dataclass(frozen=True)
class Leverage:
    r"""Ridge leverage: score_u = sum_{i in u} [C (C + ridge 1)^-1]_ii, C = sum over tokens of x x^T.

    A unit that the others predict well has a low score, however large its activations are. How it is read does not
    count.

    Args:
        ridge: Ridge in the units of C.

    Source:
        C.-H. Lin et al., *MoDeGPT: modular decomposition for large language model compression*, ICLR 2025, algorithm 1
        (feed-forward layers), with ridge 1. Heads, for which it has another score, are scored in the same way here.
    """

    ridge: float = 1.0
    name: str = "leverage"
    nats: bool = False

    def __post_init__(self) -> None:
        """Raise InputError where the ridge is not positive."""
        if not self.ridge > 0:
            raise InputError(f"`ridge` is {self.ridge}, expected a number above 0; 1 is the published one")

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by score, the most redundant first; the losses are the scores."""
        total = statistics.second_moment * statistics.tokens.weight
        noisy = total.clone()
        noisy.diagonal().add_(self.ridge)
        return by_score(_units(torch.linalg.solve(noisy, total).diagonal(), statistics).sum(1))


def _units(scores: Float[Tensor, " n"], statistics: SiteStatistics) -> Float[Tensor, "units size"]:
    return scores.reshape(-1, statistics.site.size)


def _not_collected(criterion: str, extra: Extra, statistics: SiteStatistics) -> InputError:
    return InputError(
        f"the statistics of {statistics.site.name} are without {extra!r}, which criterion {criterion!r} needs; "
        f"collect them with `extras={{{extra!r}}}`"
    )
