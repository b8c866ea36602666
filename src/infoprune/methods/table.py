"""Methods as a table: the criterion, how a budget is divided among sites, and the finish after the cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infoprune.errors import InputError
from infoprune.ranking.criteria import CRITERIA

Division = Literal["uniform", "losses", "search", "threshold"]
"""How a budget is divided. "uniform": the same share everywhere. "losses": the least sum of losses within the cost, on
convex curves. "search": the same, unit by unit. "threshold": one threshold for all losses, whatever the units cost."""
Finish = Literal["cut", "means", "least-squares", "masks", "repair"]
"""What follows the cut: nothing, means in biases, re-fitted readers, factors on units, or this library's repair; see
`finished`."""
SEQUENTIAL = "kprune"
ROTATED = "slicegpt"


@dataclass(frozen=True)
class Method:
    """Published way to prune without training.

    Args:
        name: Name of the criterion; or "kprune", which ranks anew after every site, or "slicegpt", which ranks no
            units.
        division: How a budget is divided among the sites.
        finish: What follows the cut, as published.
    """

    name: str
    division: Division = "uniform"
    finish: Finish = "cut"

    @property
    def sequential(self) -> bool:
        """Whether every site is cut and re-fitted before the next one is ranked."""
        return self.name == SEQUENTIAL

    @property
    def rotates(self) -> bool:
        """Whether directions of the residual stream are removed instead of units."""
        return self.name == ROTATED

    @property
    def ranks(self) -> bool:
        """Whether the name is a criterion that ranks the units of the dense model."""
        return not self.sequential and not self.rotates


METHODS = {
    method.name: method
    for method in (
        Method("information", "losses", "repair"),
        Method("fan2021"),
        Method("magnitude"),
        Method("magnitude-l1"),
        Method("activation"),
        Method("wanda"),
        Method("flap", "threshold", "means"),
        Method("taylor"),
        Method("kwon", "search", "masks"),
        Method(SEQUENTIAL, "losses", "least-squares"),
        Method(ROTATED),
        Method("leverage", finish="least-squares"),
        Method("brain-surgeon", finish="least-squares"),
        Method("random"),
    )
}
USUAL = ("information", "magnitude", "wanda", "flap", "kwon", "brain-surgeon", "random")
"""Methods that are compared where none are named: one of every idea, and none that takes many times as long."""
USUAL_OF_EXPERTS = ("information", "reap", "frequency", "random")
"""The same, where experts are cut."""
USUAL_OF_ALL = ("information", "magnitude", "random")
"""The same, where experts are cut and other units too: those that rank both."""


def method_named(name: str) -> Method:
    """Return the method of that name; for any other criterion, a uniform division and a plain cut.

    Raises:
        InputError: The name is neither a method nor a criterion; the message lists the known ones.
    """
    if name in METHODS:
        return METHODS[name]
    if name in CRITERIA:
        return Method(name)
    known = ", ".join(dict.fromkeys([*METHODS, *CRITERIA]))
    raise InputError(f"criterion {name!r} is not known; expected one of: {known}; pass e.g. information")
