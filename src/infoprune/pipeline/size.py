"""Size: how small the result is to be, as a share, a budget or a largest loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from infoprune.budgets.budget import Budget, Keep, read_budget
from infoprune.errors import InputError
from infoprune.structure.site import Site
from infoprune.tasks.compare import between
from infoprune.tasks.evaluate import Evaluation

POINTS = ("accuracy", "macro_f1", "micro_f1")


@cache
def default_size(allocation: str | None, depth: bool) -> Budget:
    """Return the budget that holds where none was given; one object, which is thereby known from one that was given."""
    return Budget("flops", 0.5, allocation, depth)


@cache
def default_of_experts(allocation: str | None, depth: bool) -> Budget:
    """Return the same where experts are cut: half of all parameters, since a token reads as many experts as before."""
    return Budget("params", 0.5, allocation, depth)


DEFAULT = default_size(None, False)
"""Half of the FLOPs, with the sizes that lose the least: at the same cost this loses about half as much as the same
share of every site (docs/research/budgets.md)."""


@dataclass(frozen=True)
class MaxLoss:
    """Largest loss of a smaller model on the evaluation inputs.

    Args:
        metric: "kl", the mean KL divergence from the original model's outputs, which needs no labels; or "accuracy",
            "macro_f1" or "micro_f1".
        most: Largest loss: nats per input for "kl", points (hundredths) for the others.

    Raises:
        InputError: The metric is not known, or the number is not above 0.

    Examples:
        >>> MaxLoss("accuracy", 0.5)
        MaxLoss(metric='accuracy', most=0.5)
    """

    metric: str
    most: float

    def __post_init__(self) -> None:
        if self.metric not in ("kl", *POINTS):
            raise InputError(
                f"`max_loss` has the metric {self.metric!r}, expected one of: kl, {', '.join(POINTS)}; "
                "pass e.g. `max_loss=accuracy=0.5`"
            )
        if not (self.most > 0 and math.isfinite(self.most)):
            raise InputError(
                f"a loss of {self.metric}={self.most:g} was allowed, expected a number above 0; pass e.g. "
                f"{'`max_kl=0.05`' if self.metric == 'kl' else f'`max_loss={self.metric}=0.5` for half a point'}"
            )

    def of(self, dense: Evaluation, small: Evaluation) -> float:
        """Return the loss of the small model, in the unit of `most`.

        Raises:
            InputError: The inputs have no labels that give this metric, or the outputs have no KL divergence.
        """
        if self.metric == "kl":
            lost = between(dense, small).kl
            if lost is None:
                raise InputError(
                    "`max_kl` was given, but a regression has no KL divergence, expected a model with classes; "
                    "pass `budget`"
                )
            return lost
        if self.metric not in dense.metrics:
            there = ", ".join(("kl", *dense.metrics))
            raise InputError(
                f"the evaluation inputs give no {self.metric}, expected one of: {there}; pass texts with labels, or "
                "`max_kl=0.05`"
            )
        return 100 * (dense.metrics[self.metric] - small.metrics[self.metric])


Size = Keep | Budget | MaxLoss


def size_for(size: Keep | Budget, sites: Sequence[Site]) -> Keep | Budget:
    """Return the size, where it is the default that of a model with such sites."""
    if isinstance(size, Keep) or not is_default(size) or not any(site.whole_experts for site in sites):
        return size
    return default_of_experts(size.allocation, size.depth)


def is_default(size: Budget) -> bool:
    """Return whether a budget is the default, and none that was given."""
    return any(size is default(size.allocation, size.depth) for default in (default_size, default_of_experts))


def check_trained(size: Size, distills: bool) -> None:
    """Raise InputError where a size is searched for and a distillation asked for: the search does not train."""
    if distills and isinstance(size, MaxLoss):
        raise InputError("`distill` was given with a largest loss, but the search does not train; pass `budget`")


def read_max_loss(text: str) -> MaxLoss:
    """Read a largest loss such as "accuracy=0.5".

    Raises:
        InputError: The text is no metric and number.

    Examples:
        >>> read_max_loss("accuracy=0.5")
        MaxLoss(metric='accuracy', most=0.5)
    """
    metric, _, most = (part.strip() for part in text.partition("="))
    try:
        return MaxLoss(metric, float(most))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"`max_loss` is {text!r}, expected a metric and a number of points; pass e.g. `max_loss=accuracy=0.5`"
        ) from None


def size_of(
    keep: float | None = None,
    budget: Budget | str | None = None,
    max_loss: MaxLoss | str | None = None,
    max_kl: float | None = None,
) -> Size:
    """Return the size that was given; half of the FLOPs where none was (see `size_for`).

    Args:
        keep: Share of the units of every site.
        budget: Largest cost of the result.
        max_loss: Largest loss on the evaluation inputs.
        max_kl: Largest KL divergence, in nats per input.

    Raises:
        InputError: More than one is given, or one is out of range.

    Examples:
        >>> size_of(budget="flops=0.4")
        Budget(quantity='flops', amount=0.4, allocation=None, depth=False)
    """
    given = {"keep": keep, "budget": budget, "max_loss": max_loss, "max_kl": max_kl}
    if isinstance(max_loss, MaxLoss) and max_loss.metric == "kl" and max_kl is None:  # as the command line passes it
        given |= {"max_loss": None, "max_kl": max_loss.most}
    names = [f"`{name}`" for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InputError(f"more than one size was given ({', '.join(names)}), expected one; leave one out")
    if keep is not None:
        return Keep(keep)
    if budget is not None:
        return read_budget(budget) if isinstance(budget, str) else budget
    if max_loss is not None:
        return read_max_loss(max_loss) if isinstance(max_loss, str) else max_loss
    return DEFAULT if max_kl is None else MaxLoss("kl", max_kl)
