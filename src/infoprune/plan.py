"""Plan: which units stay, as a frozen value that is a JSON file and part of the checkpoint."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from infoprune.errors import InputError

VERSION = 1
CARRIED = "infoprune_plan"
MOST_UNITS = 1 << 24
WIDTH = "width"
"""The site whose units are the coordinates of the residual stream."""
LAYER_WIDTH = "layer-width"
"""Kind of the sites that are the coordinates with which one layer goes on: each layer some of those below it."""
STREAMS = (WIDTH, LAYER_WIDTH)
VOCABULARY = "vocabulary"
"""The site whose units are tokens; the only one that is outside the layers."""


@dataclass(frozen=True)
class Plan:
    """What is kept of a model.

    Args:
        model_type: family the plan was made for.
        units: how many units each site had.
        kept: which of them stay, ascending; none of a block that goes altogether.
        criterion: what chose them.
        seed: of the choice.
        nats_lost: predicted loss, nats per input; None where the criterion does not speak nats.
        stand_ins: for every token the kept one whose row of the embedding table is read for it; a kept token is its
            own. None where tokens are numbered anew and the dropped ones are no more, or none is dropped.
    """

    model_type: str
    units: dict[str, int]
    kept: dict[str, tuple[int, ...]]
    criterion: str
    seed: int
    nats_lost: float | None = None
    stand_ins: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Checks that the plan makes sense; raises InputError that names the site."""
        if self.units.keys() != self.kept.keys():
            raise InputError("plan: 'units' and 'kept' name different sites, expected the same ones")
        for site, kept in self.kept.items():
            units = self.units[site]
            if not 0 < units <= MOST_UNITS:
                raise InputError(f"plan: {site} has {units} units, expected between 1 and {MOST_UNITS}")
            if not kept and site == VOCABULARY:
                raise InputError(f"plan: {site} keeps none of its {units} units, expected at least one")
            if any(a >= b for a, b in pairwise(kept)) or any(not 0 <= unit < units for unit in kept[:1] + kept[-1:]):
                raise InputError(f"plan: kept units of {site} are not ascending, distinct and within 0..{units - 1}")
        if self.stand_ins is not None:
            self._check_stand_ins(self.stand_ins)

    def _check_stand_ins(self, stand_ins: tuple[int, ...]) -> None:
        tokens = self.units.get(VOCABULARY, 0)
        if len(stand_ins) != tokens or tokens == 0:
            raise InputError(f"plan: {len(stand_ins)} stand-ins for {tokens} tokens, expected one for each token")
        kept = self.kept[VOCABULARY]
        if not {*stand_ins} <= {*kept} or any(stand_ins[token] != token for token in kept):
            raise InputError("plan: a stand-in is no kept token, or a kept token has another, expected its own number")

    @property
    def rows(self) -> tuple[int, ...] | None:
        """For every token, which row of the smaller embedding table it reads; None where that is its own number."""
        if self.stand_ins is None:
            return None
        row = {token: index for index, token in enumerate(self.kept[VOCABULARY])}
        return tuple(row[token] for token in self.stand_ins)

    @property
    def mapped(self) -> int | None:
        """How many tokens read the row of another; None where there are no stand-ins."""
        return None if self.stand_ins is None else len(self.stand_ins) - len(self.kept[VOCABULARY])

    @property
    def numbering(self) -> tuple[int, ...] | None:
        """The tokens of the dense model by the numbers that they have now; None where these are the same."""
        return self.kept.get(VOCABULARY) if self.stand_ins is None else None

    @classmethod
    def of_everything(cls, model_type: str, units: dict[str, int], criterion: str, seed: int) -> Plan:
        """The plan that cuts nothing."""
        return cls(model_type, units, {site: tuple(range(n)) for site, n in units.items()}, criterion, seed, 0.0)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """(kept, of) for every site."""
        return {site: (len(kept), self.units[site]) for site, kept in self.kept.items()}

    def then(self, later: Plan) -> Plan:
        """This plan followed by one that was made for the model after this cut, as one plan for the dense model."""
        kept, units = dict(self.kept), dict(self.units)
        for site, chosen in later.kept.items():
            before = self.kept.get(site)
            kept[site] = chosen if before is None else tuple(before[i] for i in chosen)
            units.setdefault(site, later.units[site])
        nats = None if self.nats_lost is None or later.nats_lost is None else self.nats_lost + later.nats_lost
        stand_ins = self._stand_ins_before(later)
        return Plan(self.model_type, units, kept, later.criterion, later.seed, nats, stand_ins)

    def _stand_ins_before(self, later: Plan) -> tuple[int, ...] | None:
        """For every token of the dense model that which stands in after both cuts."""
        if VOCABULARY not in later.kept or VOCABULARY not in self.kept:
            return self.stand_ins or later.stand_ins
        kept, rows = self.kept[VOCABULARY], range(self.units[VOCABULARY]) if self.rows is None else self.rows
        if len(later.kept[VOCABULARY]) == later.units[VOCABULARY]:
            return self.stand_ins
        whole = len(kept) == self.units[VOCABULARY]
        if (self.stand_ins is None) != (later.stand_ins is None) and not whole:
            raise InputError(
                "one cut of the vocabulary numbers tokens anew and the other lets kept ones stand in, expected two of "
                "a kind; cut the dense model once"
            )
        return None if later.stand_ins is None else tuple(kept[later.stand_ins[row]] for row in rows)

    def after(self) -> Plan:
        """The plan that cuts nothing of the model that is left after this one."""
        units = {site: len(kept) for site, kept in self.kept.items() if kept}
        return Plan.of_everything(self.model_type, units, self.criterion, self.seed)

    def to_json(self) -> str:
        """Text of plan.json, a list of units to a line."""
        fields = {name: value for name, value in asdict(self).items() if name != "stand_ins" or value is not None}
        text = json.dumps({"version": VERSION, **fields}, indent=1)
        return re.sub(r"\[\n[\s\d,]+\]", lambda found: " ".join(found[0].split()), text)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Reads plan.json back, and trusts nothing in it.

        Raises:
            InputError: not JSON, of another version, or with a field of the wrong type.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"plan.json is not JSON ({error}); the file is damaged, prune again") from None
        if not isinstance(data, dict) or data.get("version") is True or data.get("version") != VERSION:
            raise InputError(f"plan.json is not a plan of version {VERSION}; prune again with this release")
        units = _table(data, "units")
        kept = _table(data, "kept")
        if not all(_is_integer(n) for n in units.values()):
            raise InputError("plan.json: 'units' must hold integers")
        if not all(isinstance(k, list) and all(_is_integer(i) for i in k) for k in kept.values()):
            raise InputError("plan.json: 'kept' must hold lists of integers")
        nats = data.get("nats_lost")
        if not isinstance(data.get("model_type"), str) or not isinstance(data.get("criterion"), str):
            raise InputError("plan.json: 'model_type' and 'criterion' must be texts")
        if not _is_integer(data.get("seed")) or not (nats is None or _is_number(nats)):
            raise InputError("plan.json: 'seed' must be an integer and 'nats_lost' a number or null")
        stand_ins = data.get("stand_ins")
        if not (stand_ins is None or (isinstance(stand_ins, list) and all(map(_is_integer, stand_ins)))):
            raise InputError("plan.json: 'stand_ins' must be a list of integers or null")
        return cls(
            data["model_type"],
            units,
            {site: tuple(each) for site, each in kept.items()},
            data["criterion"],
            data["seed"],
            nats,
            None if stand_ins is None else tuple(stand_ins),
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise InputError(f"plan.json: {key!r} must be an object by site name")
    return value


def kept_within(small: nn.Module, dense: nn.Module, site: str, units: int) -> tuple[int, ...]:
    """Which of the `units` that a model has at a site its pruned descendant has kept."""
    plan, before = plan_of(small), plan_of(dense)
    if plan is None or site not in plan.kept:
        return tuple(range(units))
    if before is None or site not in before.kept:
        return plan.kept[site]
    position = {unit: index for index, unit in enumerate(before.kept[site])}
    return tuple(position[unit] for unit in plan.kept[site])


def check_same_tokens(small: nn.Module, dense: nn.Module) -> None:
    """Raises InputError where a cut of the vocabulary has made the models read different numbers."""
    ours, theirs = ((plan.numbering if plan else None) for plan in (plan_of(small), plan_of(dense)))
    if ours != theirs:
        raise InputError(
            "the vocabulary of one model is cut and that of the other is not, or not so, expected the same tokens; "
            "compare with infoprune.vocabulary.tokens.with_tokens_of(dense, small)"
        )


def plan_of(model: nn.Module) -> Plan | None:
    """The plan that a pruned model carries with it, counted from the dense model; None for a dense model."""
    plan: Plan | None = vars(model).get(CARRIED)
    return plan


def carry_plan(model: nn.Module, plan: Plan) -> None:
    """Makes a model carry its plan, so that `save` can write it."""
    setattr(model, CARRIED, plan)
