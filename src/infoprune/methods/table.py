"""Methods as a table: what chooses the units, how a budget is divided, and what is done after the cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infoprune.errors import InputError
from infoprune.ranking.criteria import CRITERIA

Division = Literal["uniform", "losses", "search", "threshold"]
"""The same share everywhere; the least sum of losses for the cost, on convex curves, or unit by unit; or all below one
threshold, whatever they cost."""
Finish = Literal["cut", "means", "least-squares", "masks", "repair"]
"""Nothing; biases take up means; readers are re-fitted in turn; factors on units; or this library's own repair."""
SEQUENTIAL = "kprune"
ROTATED = "slicegpt"


@dataclass(frozen=True)
class Method:
    """A published way to prune without training.

    Args:
        name: of the criterion; or "kprune", which ranks anew after every site, or "slicegpt", which ranks no units.
        division: of a budget among the sites.
        finish: after the cut, as published.
    """

    name: str
    division: Division = "uniform"
    finish: Finish = "cut"

    @property
    def sequential(self) -> bool:
        """Whether what was cut below is repaired before the next site is ranked."""
        return self.name == SEQUENTIAL

    @property
    def rotates(self) -> bool:
        """Whether directions of the residual stream go instead of units."""
        return self.name == ROTATED

    @property
    def ranks(self) -> bool:
        """Whether it is a criterion, by which the units of the dense model are ranked."""
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


def method_named(name: str) -> Method:
    """The method of that name; a criterion that is in no publication is cut by the same share and left alone.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if name in METHODS:
        return METHODS[name]
    if name in CRITERIA:
        return Method(name)
    known = ", ".join(dict.fromkeys([*METHODS, *CRITERIA]))
    raise InputError(f"criterion {name!r} is not known; expected one of: {known}")
