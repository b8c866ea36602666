"""Kwon et al. 2022: the Fisher information of a mask on every unit, and the rearrangement of the units chosen by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.errors import InputError
from infoprune.ranking.eliminate import Elimination, by_score
from infoprune.statistics.extras import Extra
from infoprune.statistics.statistics import SiteStatistics


@dataclass(frozen=True)
class Kwon:
    r"""Diagonal Fisher information of a mask on every unit: loss_u = 1/2 F_uu, in nats.

        F = mean over inputs of sum over outcomes of p (d log p / d m)(d log p / d m)^T

    The loss of several units is the sum of theirs, so dividing a budget by the least loss is the published search.
    `rearrange` then counts what they lose together. The outcomes are weighted by the model's own prediction p, where
    the source takes the label: the Fisher information itself and not the empirical one.

    Source:
        W. Kwon et al., *A fast post-training pruning framework for transformers*, NeurIPS 2022, sections 4.1 and 4.2.
    """

    name: str = "kwon"
    nats: bool = True
    extras: frozenset[Extra] = frozenset({"masks"})

    def rank_site(self, statistics: SiteStatistics, generator: torch.Generator) -> Elimination:
        """Order the units by the Fisher information of their masks, the least first.

        Raises:
            InputError: `collect` was not asked for "masks".
        """
        return by_score(mask_fisher(statistics).diagonal() / 2)

    def settle(self, statistics: SiteStatistics, kept: int) -> tuple[int, ...]:
        """Return which units a site keeps, once their number is known."""
        return rearrange(mask_fisher(statistics), kept)


def mask_fisher(statistics: SiteStatistics) -> Float[Tensor, "units units"]:
    """Return F of the masks of one site, in nats per input.

    Raises:
        InputError: `collect` was not asked for "masks".
    """
    if statistics.masks is None:
        raise InputError(
            f"the statistics of {statistics.site.name} are without 'masks', which criterion 'kwon' needs; "
            "collect them with `extras={'masks'}`"
        )
    rows = statistics.masks.double().flatten(0, 1)
    fisher: Tensor = rows.T @ rows / len(statistics.masks)
    return fisher


def rearrange(fisher: Float[Tensor, "units units"], kept: int) -> tuple[int, ...]:
    r"""Return the units to keep, so that the removed ones have a small joint loss: 1^T F 1 over them.

    At first the units with the least F_uu are removed. Then each of the others in turn, by growing F_uu, is removed,
    and the removed unit whose return leaves the least 1^T F 1 comes back; that may be the same one.

    Args:
        fisher: Matrix F of the masks.
        kept: Number of units to keep.

    Source:
        W. Kwon et al., NeurIPS 2022, section 4.2.
    """
    units = len(fisher)
    order = fisher.diagonal().sort(stable=True).indices
    going = torch.zeros(units, dtype=torch.bool, device=fisher.device)
    going[order[: units - kept]] = True
    joint = fisher[:, going].sum(1)  # sum of F_uv over the removed v
    if 0 < kept < units:
        for candidate in order[units - kept :].tolist():
            going[candidate] = True
            joint += fisher[:, candidate]
            back = int((2 * joint - fisher.diagonal()).masked_fill(~going, -torch.inf).argmax())
            going[back] = False
            joint -= fisher[:, back]
    stays: Int[Tensor, " kept"] = (~going).nonzero()[:, 0]
    return tuple(stays.tolist())
