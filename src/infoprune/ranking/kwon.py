"""Kwon et al. 2022: Fisher information of a mask on every unit, and the rearrangement of what was chosen by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.errors import InputError
from infoprune.ranking.eliminate import Elimination, by_score
from infoprune.statistics.masks import Extra
from infoprune.statistics.statistics import SiteStatistics


@dataclass(frozen=True)
class Kwon:
    r"""Diagonal Fisher information of a mask on every unit: loss_u = 1/2 F_uu, in nats.

        F = mean over inputs of sum over answers of p (d log p / d m)(d log p / d m)^T

    The loss of several units is the sum of theirs, so a budget's division by the least loss is the published search.
    `rearrange` then counts what they lose together. The answers are those of the model, weighted by its own
    prediction, where the source takes the label: the Fisher information itself and not the empirical one.

    Source:
        W. Kwon et al., *A fast post-training pruning framework for transformers*, NeurIPS 2022, sections 4.1 and 4.2.
    """

    name: str = "kwon"
    nats: bool = True
    extras: frozenset[Extra] = frozenset({"masks"})

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """The least informative mask first.

        Raises:
            InputError: `collect` was not asked for "masks".
        """
        return by_score(mask_fisher(statistics).diagonal() / 2)

    def settle(self, statistics: SiteStatistics, kept: int) -> tuple[int, ...]:
        """Which units a site keeps, once their number is known."""
        return rearrange(mask_fisher(statistics), kept)


def mask_fisher(statistics: SiteStatistics) -> Float[Tensor, "units units"]:
    """F of the masks of one site, in nats per input.

    Raises:
        InputError: `collect` was not asked for "masks".
    """
    if statistics.masks is None:
        raise InputError(
            f"the statistics of {statistics.site.name} are without 'masks', which criterion 'kwon' needs; "
            "collect them with extras={'masks'}"
        )
    rows = statistics.masks.double().flatten(0, 1)
    fisher: Tensor = rows.T @ rows / len(statistics.masks)
    return fisher


def rearrange(fisher: Float[Tensor, "units units"], kept: int) -> tuple[int, ...]:
    r"""The units to keep, so that those that go lose little together: 1^T F 1 over them.

    From the units with the least F_uu that are to go, every other one in turn, by growing F_uu, takes the place of the
    one whose return leaves the least 1^T F 1; that may be itself.

    Args:
        fisher: F of the masks.
        kept: how many stay.

    Source:
        W. Kwon et al., NeurIPS 2022, section 4.2.
    """
    units = len(fisher)
    order = fisher.diagonal().sort(stable=True).indices
    going = torch.zeros(units, dtype=torch.bool, device=fisher.device)
    going[order[: units - kept]] = True
    felt = fisher[:, going].sum(1)  # sum of F_uv over the v that go
    if 0 < kept < units:
        for candidate in order[units - kept :].tolist():
            going[candidate] = True
            felt += fisher[:, candidate]
            back = int((2 * felt - fisher.diagonal()).masked_fill(~going, -torch.inf).argmax())
            going[back] = False
            felt -= fisher[:, back]
    stays: Int[Tensor, " kept"] = (~going).nonzero()[:, 0]
    return tuple(stays.tolist())
