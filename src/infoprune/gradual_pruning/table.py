"""Methods that choose while they train, as a table: what they remove, and by which score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infoprune.errors import InputError

Choice = Literal["entries", "units"]
"""Single weights, which leaves zeros; or neurons and heads, which leaves a smaller dense model."""
Score = Literal["magnitude", "movement", "gates"]
SCORES: dict[Choice, tuple[Score, ...]] = {"entries": ("magnitude", "movement"), "units": ("magnitude", "gates")}


@dataclass(frozen=True)
class TrainedMethod:
    """Published way to choose while training.

    Args:
        name: Name of the method.
        choice: What is removed: single weights or units.
        score: "magnitude": the size of the weights. "movement": scores that are trained by the gradient of a mask.
            "gates": locations of gates that are sampled at every step (units only).
        together: One ranking for the whole model; otherwise every matrix, or every site, keeps the same share.
        rate: Learning rate of scores, locations and multipliers.
        penalty: Weight of mean sigmoid(scores), times the removed share (score "movement" only).

    Raises:
        InputError: The score is not one of that choice, or a number is out of range.
    """

    name: str
    choice: Choice
    score: Score
    together: bool = False
    rate: float = 1e-2
    penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.score not in SCORES[self.choice]:
            known = " or ".join(SCORES[self.choice])
            raise InputError(f"{self.choice} by {self.score} is not supported, expected {known}; choose one of these")
        if not (self.rate > 0 and self.penalty >= 0):
            raise InputError(
                f"rate {self.rate:g} and penalty {self.penalty:g}, expected a rate above 0 and a penalty of 0 or more; "
                "leave them to their defaults"
            )


TRAINED = {
    method.name: method
    for method in (
        TrainedMethod("magnitude", "entries", "magnitude"),
        TrainedMethod("movement", "entries", "movement"),
        TrainedMethod("soft-movement", "entries", "movement", together=True, penalty=100.0),
        TrainedMethod("l0", "units", "gates", together=True, rate=0.1),
        TrainedMethod("structured-magnitude", "units", "magnitude"),
    )
}


def trained_method(name: str) -> TrainedMethod:
    """Return the method of that name.

    Raises:
        InputError: The name is not known; the message lists the known ones.
    """
    if name not in TRAINED:
        raise InputError(f"method {name!r} is not known, expected one of: {', '.join(TRAINED)}")
    return TRAINED[name]
