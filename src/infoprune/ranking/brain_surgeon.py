"""Optimal brain surgeon: rank units by the error of their reader's output when the reader is re-fitted without them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from infoprune.errors import InputError
from infoprune.ranking.eliminate import Elimination, eliminate
from infoprune.statistics.statistics import SiteStatistics


@dataclass(frozen=True)
class BrainSurgeon:
    r"""Backward elimination under the squared error of the reader's output, all tokens and outputs alike.

        loss_j = 1/2 |w_j|^2 / [H^-1]_jj,    H = E[x x^T] + damping mean(diag) 1,    w the re-fitted reader

    This is `ChannelInformation` with tau at infinity, all tokens alike and the mean counted as signal.

    Args:
        damping: Damping of H, as a fraction of its mean diagonal.

    Source:
        E. Kurtić et al., *ZipLM*, NeurIPS 2023, equations (2) and (3); X. Meng et al., *OSSCAR*, ICML 2024, whose
        objective it is, without the swaps.
    """

    damping: float = 1e-2
    name: str = "brain-surgeon"
    nats: bool = False

    def __post_init__(self) -> None:
        """Raise InputError where the damping is not positive."""
        if not self.damping > 0:
            raise InputError(f"`damping` is {self.damping}, expected a number above 0; 0.01 is a good choice")

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by what the re-fitted reader loses without them; the losses are half squared errors."""
        second = statistics.second_moment
        level = float(second.diagonal().mean())
        second.diagonal().add_(self.damping * level if level > 0 else 1.0)
        return eliminate(second, statistics.reader.T @ statistics.reader, size=statistics.site.size)
