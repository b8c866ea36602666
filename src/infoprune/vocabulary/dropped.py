"""Dropped: what becomes of a token in a text once its row is gone."""

from __future__ import annotations

from typing import Literal

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import VOCABULARY, plan_of
from infoprune.structure.sites import every_site
from infoprune.structure.stand_ins import why_not
from infoprune.structure.stock import loads_in

Dropped = Literal["nearest", "pieces"]
DROPPED: tuple[Dropped, ...] = ("nearest", "pieces")
"""The model reads the nearest row that stayed, or the tokenizer splits the token."""


def default_for(model: PreTrainedModel, opens: str | None = None) -> Dropped:
    """What becomes of dropped tokens where nothing is said.

    Args:
        model: whose tokens are dropped.
        opens: "transformers" or "infoprune": what will open the result whatever becomes of its vocabulary; by default
            what opens the model as it is.
    """
    plan = plan_of(model)
    if plan is not None and VOCABULARY in plan.kept:
        return "pieces" if plan.stand_ins is None else "nearest"
    if opens is None:
        opens = "transformers" if plan is None else loads_in(every_site(model), plan.counts)
    return "nearest" if opens == "infoprune" and why_not(model) is None else "pieces"


def check_dropped(model: PreTrainedModel, dropped: Dropped) -> None:
    """Raises InputError where tokens of a model cannot be dropped so."""
    reason = why_not(model) if dropped == "nearest" else None
    if reason is not None:
        raise InputError(
            f"nearest rows cannot stand in for the dropped tokens of a {type(model).__name__}: {reason}; "
            "let the tokenizer split them (--dropped-tokens pieces)"
        )
    default = default_for(model)
    if dropped != default and VOCABULARY in (getattr(plan_of(model), "kept", None) or ()):
        raise InputError(
            f"the vocabulary of this model was cut before, and its dropped tokens became {default}, expected the same "
            f"now; pass --dropped-tokens {default}, or cut the dense model"
        )
