"""Budgets: how much of a model to keep."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from infoprune.budgets.costs import Costs, check_quantity
from infoprune.budgets.rounding import FINEST
from infoprune.errors import InputError
from infoprune.structure.site import Site

ALLOCATIONS = ("nats", "uniform")
EXAMPLES = {"flops": "flops=0.5", "params": "params=10M", "bytes": "bytes=20MB", "latency": "latency=0.5"}
"""A budget of every quantity, for messages."""

_AMOUNT = re.compile(r"(?P<number>[0-9.]+(?:e[0-9]+)?)\s*(?P<prefix>[kMG]i?)?(?P<unit>B?)")
_POWERS = {None: 1, "k": 1e3, "M": 1e6, "G": 1e9, "ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True)
class Keep:
    """The same share of the units of every site.

    Args:
        share: Share of the units, in (0, 1].

    Raises:
        InputError: The share is not in (0, 1].

    Examples:
        >>> rankings = infoprune.rank(infoprune.collect(model, batches), ChannelInformation())
        >>> infoprune.allocate(rankings, Keep(0.25)).counts
        {'layers.0.heads': (1, 4), 'layers.0.ffn': (16, 64), 'layers.1.heads': (1, 4), 'layers.1.ffn': (16, 64)}
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(
                f"`keep` is {self.share:g}, expected a number above 0 and at most 1, such as 0.5 for half of the units"
            )

    def count(self, site: Site) -> int:
        """Return how many units a site keeps: its share, rounded half up.

        Of the hidden size and of neurons inside experts it is a multiple of 8.

        Raises:
            InputError: No unit would be left; the message gives the least share that leaves one.
        """
        kept = math.floor(site.units * self.share + 0.5)
        if site.needs_multiples and self.share < 1 and site.units > FINEST:
            kept = max(FINEST, FINEST * math.floor(kept / FINEST + 0.5))
        if kept == 0:
            unit = {"heads": "head", "cross-heads": "head", "experts": "expert"}.get(
                site.structure, "coordinate" if site.streams else "neuron"
            )
            raise InputError(
                f"`keep={self.share:g}` leaves no {unit} of {site.units} in {site.name}, expected at least one; "
                f"pass `keep={math.ceil(500 / site.units) / 1000:g}` or more"
            )
        return kept


@dataclass(frozen=True)
class Counts:
    """Number of units for every site.

    Args:
        counts: Number of units by site name.
    """

    counts: Mapping[str, int]

    def count(self, site: Site) -> int:
        """Return how many units a site keeps."""
        return min(self.counts[site.name], site.units)


@dataclass(frozen=True)
class Budget:
    """Largest cost of the smaller model; the size of every site is chosen to meet it.

    Args:
        quantity: "flops" (of a forward pass over texts of the calibration texts' typical length), "params", "bytes" (of
            the weights) or "latency" (of that pass, on this machine).
        amount: Up to 1, a share of the given model's cost; above 1, a number of parameters or bytes.
        allocation: "nats" loses the least information, "uniform" keeps the same share everywhere; None is "nats" where
            the criterion's losses are nats, else "uniform".
        depth: Remove whole attention and feed-forward blocks where that loses the least.

    Raises:
        InputError: The quantity or the allocation is not known, or the amount is out of range.

    Examples:
        >>> Budget("flops", 0.4)
        Budget(quantity='flops', amount=0.4, allocation=None, depth=False)
        >>> report = infoprune.prune(model, batches, budget=Budget("params", 0.8, "uniform")).report
        >>> report.pruned.parameters <= 0.8 * report.dense.parameters
        True
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
                f"`budget` is {self.quantity}={self.amount:g}, expected a share above 0 and at most 1{number}; "
                f"pass e.g. `budget={self.quantity}=0.5`"
            )
        if self.allocation not in (None, *ALLOCATIONS):
            raise InputError(
                f"`allocation` is {self.allocation!r}, expected one of: {', '.join(ALLOCATIONS)}; or leave it out"
            )

    def limit(self, costs: Costs) -> float:
        """Return the budget in the unit of the costs.

        Raises:
            InputError: The costs are of another quantity, or not even the smallest model meets the budget.
        """
        if costs.quantity != self.quantity:
            raise InputError(
                f"the costs are {costs.quantity}, expected {self.quantity}; "
                f"pass find_costs(model, {self.quantity!r}, batches)"
            )
        limit = self.amount * costs.dense if self.amount <= 1 else self.amount
        if limit < costs.least >= costs.dense:
            raise InputError(
                f"`budget={self.quantity}={self.amount:g}` cannot be met: every site has its fewest units already, "
                "expected a model with units to remove; prune the original model"
            )
        if limit < costs.least:
            share = math.ceil(1000 * costs.least / costs.dense) / 1000
            absolute = f" or `budget={self.quantity}={math.ceil(costs.least)}`" if self.amount > 1 else ""
            raise InputError(
                f"`budget={self.quantity}={self.amount:g}` cannot be met: with the fewest units in every site the "
                f"model has {share:.1%} of its {self.quantity}; pass `budget={self.quantity}={share:g}`{absolute} or "
                "more, or a share of the units as `keep=0.5`"
            )
        return limit


def read_bytes(text: str) -> int:
    """Read an amount of memory such as "2GB" or "500MiB", in bytes.

    Raises:
        InputError: The text is no amount of memory.

    Examples:
        >>> read_bytes("2GB")
        2000000000
    """
    match = _AMOUNT.fullmatch(text.strip())
    try:
        return int(float(match["number"]) * _POWERS[match["prefix"]]) if match else int(text)
    except ValueError:
        raise InputError(f"{text!r} is no amount of memory, expected a number of bytes; pass e.g. 2GB") from None


def read_budget(text: str, allocation: str | None = None) -> Budget:
    """Read a budget such as "flops=0.4", "params=10M" or "bytes=20MB".

    The prefixes k, M and G are powers of 1,000; ki, Mi and Gi are powers of 1,024.

    Raises:
        InputError: The text is no budget, or the budget is out of range.

    Examples:
        >>> read_budget("bytes=20MB")
        Budget(quantity='bytes', amount=20000000.0, allocation=None, depth=False)
    """
    quantity, equals, amount = (part.strip() for part in text.partition("="))
    if not equals:
        raise InputError(
            f"budget {text!r} is incomplete, expected a quantity and an amount, one of: "
            f"{', '.join(EXAMPLES.values())}; pass e.g. `budget=flops=0.5`"
        )
    check_quantity(quantity)
    match = _AMOUNT.fullmatch(amount)
    if match is None or (match["unit"] and quantity != "bytes"):
        expected = "a number, with k, M or G if you like," if quantity in ("params", "bytes") else "a share up to 1"
        raise InputError(
            f"budget {text!r} cannot be read, expected {expected} after {quantity}=; "
            f"pass e.g. `budget={EXAMPLES[quantity]}`"
        )
    try:
        number = float(match["number"])
    except ValueError:
        raise InputError(f"budget {text!r} holds no number; pass e.g. `budget={quantity}=0.5`") from None
    if (match["prefix"] or match["unit"]) and number * _POWERS[match["prefix"]] <= 1:
        raise InputError(f"budget {text!r} is at most 1, expected more; pass e.g. `budget={quantity}=0.5` for half")
    return Budget(quantity, number * _POWERS[match["prefix"]], allocation)
