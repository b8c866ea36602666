"""Budgets: how much of a model may stay."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from infoprune.budgets.costs import Costs, check_quantity
from infoprune.budgets.rounding import FINEST
from infoprune.errors import InputError
from infoprune.structure.site import Site

ALLOCATIONS = ("nats", "uniform")

_AMOUNT = re.compile(r"(?P<number>[0-9.]+(?:e[0-9]+)?)\s*(?P<prefix>[kMG]i?)?(?P<unit>B?)")
_POWERS = {None: 1, "k": 1e3, "M": 1e6, "G": 1e9, "ki": 2**10, "Mi": 2**20, "Gi": 2**30}


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
        """How many units of a site stay: the share, rounded half up; of the width a multiple of 8.

        Raises:
            InputError: that would be none; the message says the least share that leaves one.
        """
        kept = math.floor(site.units * self.share + 0.5)
        if site.streams and self.share < 1 and site.units > FINEST:
            kept = max(FINEST, FINEST * math.floor(kept / FINEST + 0.5))  # what kernels like, for all matrices at once
        if kept == 0:
            unit = {"heads": "head", "cross-heads": "head"}.get(site.kind, "coordinate" if site.streams else "neuron")
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

    counts: Mapping[str, int]

    def count(self, site: Site) -> int:
        """How many units of a site stay."""
        return min(self.counts[site.name], site.units)


@dataclass(frozen=True)
class Budget:
    """What the smaller model may cost; every site's size is then chosen.

    Args:
        quantity: "flops" (of a forward pass over texts as long as those of the calibration), "params", "bytes" (of the
            weights) or "latency" (of that pass, on this machine).
        amount: in (0, 1] a share of the model as it is; above 1 the parameters or bytes themselves.
        allocation: "nats" loses the least information, "uniform" keeps the same share everywhere; None is "nats" where
            the criterion's losses are nats, else "uniform".
        depth: let whole attention and feed-forward blocks go where that loses the least.

    Raises:
        InputError: one of these makes no sense.

    Example:
        >>> compress(model, batches, budget=Budget("flops", 0.4))
        >>> compress(model, batches, budget=Budget("bytes", 20e6))
    """

    quantity: str
    amount: float
    allocation: str | None = None
    depth: bool = False

    def __post_init__(self) -> None:
        check_quantity(self.quantity)
        absolute = self.quantity in ("params", "bytes")
        if not (self.amount > 0 and math.isfinite(self.amount)) or (self.amount > 1 and not absolute):
            number = ", or a number above 1 such as 20MB or 10M" if absolute else ""
            raise InputError(
                f"budget is {self.quantity}={self.amount:g}, expected a share above 0 and at most 1{number}; "
                f"pass e.g. {self.quantity}=0.5"
            )
        if self.allocation not in (None, *ALLOCATIONS):
            raise InputError(f"allocation is {self.allocation!r}, expected one of: {', '.join(ALLOCATIONS)}")

    def limit(self, costs: Costs) -> float:
        """The budget in the unit of the costs.

        Raises:
            InputError: the costs are of another quantity, or not even the smallest model meets the budget.
        """
        if costs.quantity != self.quantity:
            raise InputError(
                f"the costs are {costs.quantity}, expected {self.quantity}; "
                f"pass find_costs(model, {self.quantity!r}, batches)"
            )
        limit = self.amount * costs.dense if self.amount <= 1 else self.amount
        if limit < costs.least:
            share = math.ceil(1000 * costs.least / costs.dense) / 1000
            absolute = f" or {self.quantity}={math.ceil(costs.least)}" if self.amount > 1 else ""
            raise InputError(
                f"budget {self.quantity}={self.amount:g} cannot be met: with the fewest units in every site the model "
                f"has {share:.1%} of its {self.quantity}; use {self.quantity}={share:g}{absolute} or more"
            )
        return limit


def read_bytes(text: str) -> int:
    """Reads an amount of memory such as "2GB" or "500MiB".

    Raises:
        InputError: it cannot be read.

    Example:
        >>> read_bytes("2GB")
        2000000000
    """
    match = _AMOUNT.fullmatch(text.strip())
    try:
        return int(float(match["number"]) * _POWERS[match["prefix"]]) if match else int(text)
    except ValueError:
        raise InputError(f"{text!r} is no amount of memory, expected a number of bytes; pass e.g. 2GB") from None


def read_budget(text: str, allocation: str | None = None) -> Budget:
    """Reads a budget such as "flops=0.4", "params=10M" or "bytes=20MB"; k, M, G count in thousands, Ki, Mi in 1024s.

    Raises:
        InputError: it cannot be read.

    Example:
        >>> read_budget("bytes=20MB")
        Budget(quantity='bytes', amount=20000000.0, allocation=None)
    """
    quantity, _, amount = (part.strip() for part in text.partition("="))
    check_quantity(quantity)
    match = _AMOUNT.fullmatch(amount)
    if match is None or (match["unit"] and quantity != "bytes"):
        raise InputError(f"budget {text!r} cannot be read, expected a number after {quantity}=; pass e.g. flops=0.5")
    try:
        number = float(match["number"])
    except ValueError:
        raise InputError(f"budget {text!r} holds no number; pass e.g. {quantity}=0.5") from None
    if (match["prefix"] or match["unit"]) and number * _POWERS[match["prefix"]] <= 1:
        raise InputError(f"budget {text!r} is next to nothing; pass e.g. {quantity}=0.5 for half")
    return Budget(quantity, number * _POWERS[match["prefix"]], allocation)
