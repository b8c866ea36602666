"""Allocate: rankings and a budget become a plan."""

import math
from dataclasses import dataclass

from infoprune.errors import InputError
from infoprune.plan import Plan
from infoprune.rank import Rankings
from infoprune.sites import Site


@dataclass(frozen=True)
class Keep:
    """The same share of the units of every site.

    Args:
        share: in (0, 1].

    Raises:
        InputError: the share is not in (0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(
                f"keep is {self.share:g}, expected a number above 0 and at most 1, such as 0.5 for half of the units"
            )

    def count(self, site: Site) -> int:
        """How many units of a site stay: the share, rounded half up.

        Raises:
            InputError: that would be none; the message says the least share that leaves one.
        """
        kept = math.floor(site.units * self.share + 0.5)
        if kept == 0:
            unit = "head" if site.kind == "heads" else "neuron"
            raise InputError(
                f"keep {self.share:g} leaves no {unit} of {site.units} in {site.name}, expected at least one; "
                f"use keep {math.ceil(500 / site.units) / 1000:g} or more"
            )
        return kept


@dataclass(frozen=True)
class Counts:
    """A number of units for every site, as a budget of its own.

    Args:
        counts: by site name.
    """

    counts: dict[str, int]

    def count(self, site: Site) -> int:
        """How many units of a site stay."""
        return min(self.counts[site.name], site.units)


Budget = Keep | Counts


def allocate(rankings: Rankings, budget: Budget) -> Plan:
    """The plan that keeps the last units of every ranking.

    Args:
        rankings: from `rank`.
        budget: how much to keep.

    Raises:
        InputError: the budget leaves nothing of a site.

    Example:
        >>> allocate(rankings, Keep(0.25)).counts["layers.0.ffn"]
        (384, 1536)
    """
    kept, lost = {}, 0.0
    for name, ranking in rankings.sites.items():
        removed = ranking.site.units - budget.count(ranking.site)
        kept[name] = tuple(sorted(ranking.order[removed:].tolist()))
        lost += float(ranking.losses[:removed].sum())
    units = {name: ranking.site.units for name, ranking in rankings.sites.items()}
    nats = lost if rankings.nats else None
    return Plan(rankings.model_type, units, kept, rankings.criterion, rankings.seed, nats)
