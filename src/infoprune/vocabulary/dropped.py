"""Dropped tokens: how a token in a text is handled after its row is removed."""

from __future__ import annotations

from typing import Literal

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import VOCABULARY, plan_of
from infoprune.structure.sites import every_site
from infoprune.structure.stock import loads_in
from infoprune.structure.token_remapping import why_not

Dropped = Literal["remap", "pieces"]
DROPPED: tuple[Dropped, ...] = ("remap", "pieces")
"""The model reads the nearest kept row (token remapping), or the tokenizer splits the token into kept pieces."""


def default_for(model: PreTrainedModel, opens: str | None = None) -> Dropped:
    """Return the default handling of dropped tokens.

    Args:
        model: Model whose tokens are dropped.
        opens: "transformers" or "infoprune": what has to be imported to load the result, its vocabulary aside; by
            default what the model as it is needs.
    """
    plan = plan_of(model)
    if plan is not None and VOCABULARY in plan.kept:
        return "pieces" if plan.token_map is None else "remap"
    if opens is None:
        opens = "transformers" if plan is None else loads_in(every_site(model), plan.counts)
    return "remap" if opens == "infoprune" and why_not(model) is None else "pieces"


def check_dropped(model: PreTrainedModel, dropped_tokens: Dropped) -> None:
    """Raise InputError where the model does not support this handling of dropped tokens."""
    reason = why_not(model) if dropped_tokens == "remap" else None
    if reason is not None:
        raise InputError(
            f"dropped tokens of a {type(model).__name__} cannot be remapped: {reason}; "
            "let the tokenizer split them: pass `dropped_tokens=pieces`"
        )
    default = default_for(model)
    if dropped_tokens != default and VOCABULARY in (getattr(plan_of(model), "kept", None) or ()):
        raise InputError(
            f"the vocabulary of this model was already pruned with `dropped_tokens={default}`, expected the same now; "
            f"pass `dropped_tokens={default}`, or prune the original model"
        )
