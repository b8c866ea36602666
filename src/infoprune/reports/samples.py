"""Samples: some evaluation inputs with what the dense and the pruned model answer, for the page of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """An input and the answers of both models.

    Args:
        name: Path or row of the input.
        dense: Answer of the dense model.
        pruned: Answer of the pruned model.
        truth: Correct answer, where it is known.
        picture: Small copy of a picture as a data URI; None for other inputs.
    """

    name: str
    dense: str
    pruned: str
    truth: str | None = None
    picture: str | None = None

    @property
    def changed(self) -> bool:
        """Whether the answers differ."""
        return self.dense != self.pruned


@dataclass(frozen=True)
class Samples:
    """Inputs whose answer has changed, and others.

    Args:
        shown: The samples, those with another answer first.
        changed: Number of inputs with another answer.
        of: Number of inputs that were looked at.
    """

    shown: Sequence[Sample] = ()
    changed: int = 0
    of: int = 0


EACH = 6
"""Samples that are shown of those whose answer has changed, and of the others."""


def among(found: Sequence[Sample]) -> Samples:
    """Return the first samples with another answer and the first of the others.

    Examples:
        >>> among([Sample("1.png", "cat", "cat"), Sample("2.png", "cat", "dog")]).shown[0].name
        '2.png'
    """
    changed, same = ([each for each in found if each.changed is other] for other in (True, False))
    return Samples((*changed[:EACH], *same[:EACH]), len(changed), len(found))
