"""Plan: which units stay, as a frozen value, as JSON, and as part of a checkpoint."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from torch import nn

from infoprune.errors import InputError
from infoprune.kept_neurons import check_neurons, experts_beside, neurons_after

VERSION = 2
CARRIED = "infoprune_plan"
MOST_UNITS = 1 << 24
HIDDEN_SIZE = "hidden-size"
"""The site whose units are the coordinates of the residual stream."""
HIDDEN_SIZE_PER_LAYER = "hidden-size-per-layer"
"""Type of the sites whose units are the coordinates that a layer uses, a subset of those of the layer below."""
STREAMS = (HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER)
VOCABULARY = "vocabulary"
"""The site whose units are tokens."""


@dataclass(frozen=True)
class Plan:
    """Units that are kept of a model.

    Args:
        model_type: Model type that the plan was made for, such as "bert".
        units: Number of units before the cut, by site name.
        kept: Kept units by site name, ascending; empty for a block that is removed.
        criterion: Name of the criterion that chose them.
        seed: Seed of the choice.
        nats_lost: Predicted loss in nats per input; None where the criterion's losses are not nats.
        token_map: For every token the kept token whose row of the embedding table the model reads; a kept token reads
            its own. None where the kept tokens are renumbered, or where no token is removed.
        neurons: For neurons inside experts, by site name, the kept neurons of each expert that stays, ascending. The
            kept units of such a site count them only. Where a site is not named, all experts keep the neurons with the
            numbers of the kept units.

    Raises:
        InputError: The fields do not fit one another; the message names the site.

    Examples:
        >>> plan = infoprune.prune(model, batches, keep=0.5).plan
        >>> plan.counts["layers.0.ffn"]
        (32, 64)
        >>> Plan.from_json(plan.to_json()) == plan
        True
    """

    model_type: str
    units: dict[str, int]
    kept: dict[str, tuple[int, ...]]
    criterion: str
    seed: int
    nats_lost: float | None = None
    token_map: tuple[int, ...] | None = None
    neurons: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
        check_neurons(self.units, self.kept, self.neurons)
        if self.token_map is not None:
            self._check_token_map(self.token_map)

    def neurons_left(self, site: str, experts: int) -> tuple[tuple[int, ...], ...]:
        """Return the kept neurons of each expert that stays.

        Args:
            site: Name of the site of the neurons.
            experts: Number of experts before the cut.
        """
        stay = len(self.kept.get(experts_beside(site), range(experts)))
        return self.neurons.get(site, (self.kept[site],) * stay)

    def _check_token_map(self, token_map: tuple[int, ...]) -> None:
        tokens = self.units.get(VOCABULARY, 0)
        if len(token_map) != tokens or tokens == 0:
            raise InputError(f"plan: token_map has {len(token_map)} entries for {tokens} tokens, expected one for each")
        kept = self.kept[VOCABULARY]
        if not {*token_map} <= {*kept} or any(token_map[token] != token for token in kept):
            raise InputError(
                "plan: token_map names a token that is not kept, or maps a kept one to another, expected itself"
            )

    @property
    def rows(self) -> tuple[int, ...] | None:
        """Row of the smaller embedding table by token; None where it is the token's own number."""
        if self.token_map is None:
            return None
        row = {token: index for index, token in enumerate(self.kept[VOCABULARY])}
        return tuple(row[token] for token in self.token_map)

    @property
    def mapped(self) -> int | None:
        """Number of remapped tokens; None where there is no token map."""
        return None if self.token_map is None else len(self.token_map) - len(self.kept[VOCABULARY])

    @property
    def numbering(self) -> tuple[int, ...] | None:
        """Tokens of the dense model by their present numbers; None where these are the same."""
        return self.kept.get(VOCABULARY) if self.token_map is None else None

    @classmethod
    def of_everything(cls, model_type: str, units: dict[str, int], criterion: str, seed: int) -> Plan:
        """Return the plan that cuts nothing."""
        return cls(model_type, units, {site: tuple(range(n)) for site, n in units.items()}, criterion, seed, 0.0)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Numbers (kept, of) for every site."""
        return {site: (len(kept), self.units[site]) for site, kept in self.kept.items()}

    def then(self, later: Plan) -> Plan:
        """Return this plan followed by one for the model after its cut, as one plan for the dense model."""
        kept, units = dict(self.kept), dict(self.units)
        for site, chosen in later.kept.items():
            before = self.kept.get(site)
            kept[site] = chosen if before is None else tuple(before[i] for i in chosen)
            units.setdefault(site, later.units[site])
        nats = None if self.nats_lost is None or later.nats_lost is None else self.nats_lost + later.nats_lost
        token_map = self._token_map_before(later)
        neurons = {**neurons_after(self.kept, self.neurons, later.kept, later.neurons)}
        return Plan(self.model_type, units, kept, later.criterion, later.seed, nats, token_map, neurons)

    def _token_map_before(self, later: Plan) -> tuple[int, ...] | None:
        """Return the token map of the dense model after both cuts."""
        if VOCABULARY not in later.kept or VOCABULARY not in self.kept:
            return self.token_map or later.token_map
        kept, rows = self.kept[VOCABULARY], range(self.units[VOCABULARY]) if self.rows is None else self.rows
        if len(later.kept[VOCABULARY]) == later.units[VOCABULARY]:
            return self.token_map
        whole = len(kept) == self.units[VOCABULARY]
        if (self.token_map is None) != (later.token_map is None) and not whole:
            raise InputError(
                "one cut of the vocabulary renumbers tokens and the other remaps them, expected the same handling of "
                "removed tokens; cut the vocabulary of the original model once"
            )
        return None if later.token_map is None else tuple(kept[later.token_map[row]] for row in rows)

    def after(self) -> Plan:
        """Return the plan that cuts nothing of the model after this cut."""
        units = {site: len(kept) for site, kept in self.kept.items() if kept}
        return Plan.of_everything(self.model_type, units, self.criterion, self.seed)

    def to_json(self) -> str:
        """Return the text of plan.json, with each list of units on one line."""
        optional = {"token_map", "neurons"}
        fields = {name: value for name, value in asdict(self).items() if name not in optional or value}
        text = json.dumps({"version": VERSION, **fields}, indent=1)
        return re.sub(r"\[\n[\s\d,]+\]", lambda found: " ".join(found[0].split()), text)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read the text of a plan.json, which may be damaged or hostile.

        Args:
            text: The text of the file.

        Returns:
            The plan; plans of version 1 are converted.

        Raises:
            InputError: The text is no JSON, is of another version, or has a field of the wrong type.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"plan.json is not JSON ({error}); the file is damaged, prune again") from None
        if isinstance(data, dict) and data.get("version") == 1 and data["version"] is not True:
            data = _of_version_1(data)
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
        token_map = data.get("token_map")
        if not (token_map is None or (isinstance(token_map, list) and all(map(_is_integer, token_map)))):
            raise InputError("plan.json: 'token_map' must be a list of integers or null")
        neurons = data.get("neurons", {})
        if not isinstance(neurons, dict) or not all(map(_is_rows, neurons.values())):
            raise InputError("plan.json: 'neurons' must hold lists of lists of integers by site name")
        return cls(
            data["model_type"],
            units,
            {site: tuple(each) for site, each in kept.items()},
            data["criterion"],
            data["seed"],
            nats,
            None if token_map is None else tuple(token_map),
            {site: tuple(tuple(row) for row in rows) for site, rows in neurons.items()},
        )


def _of_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return a plan of version 1, which had other names for the hidden size and the token map, as one of version 2."""
    old_hidden_size, old_token_map = "width", "stand_ins"  # names in files of version 1
    old = re.compile(rf"(^|\.){old_hidden_size}$")
    named = dict(data)
    for key in ("units", "kept"):
        if isinstance(table := data.get(key), dict):
            named[key] = {old.sub(rf"\1{HIDDEN_SIZE}", str(site)): each for site, each in table.items()}
    return {**named, "version": VERSION, "token_map": named.pop(old_token_map, None)}


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, list) and all(map(_is_integer, row)) for row in value)


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise InputError(f"plan.json: {key!r} must be an object by site name")
    return value


def kept_within(small: nn.Module, dense: nn.Module, site: str, units: int) -> tuple[int, ...]:
    """Return which of the units of a model's site are kept in a model that was pruned from it.

    Args:
        small: The pruned model.
        dense: The model that it was cut from.
        site: Name of the site.
        units: Number of units of the site in `dense`.
    """
    plan, before = plan_of(small), plan_of(dense)
    if plan is None or site not in plan.kept:
        return tuple(range(units))
    if before is None or site not in before.kept:
        return plan.kept[site]
    position = {unit: index for index, unit in enumerate(before.kept[site])}
    return tuple(position[unit] for unit in plan.kept[site])


def check_same_tokens(small: nn.Module, dense: nn.Module) -> None:
    """Raise InputError where a cut of the vocabulary has given the models different token numbers."""
    ours, theirs = ((plan.numbering if plan else None) for plan in (plan_of(small), plan_of(dense)))
    tokens = [vars(vars(model).get("config", model)).get("vocab_size") for model in (small, dense)]
    if ours == theirs and tokens[0] != tokens[1]:  # as after a cut whose plan was not saved with the model
        raise InputError(
            f"the models read {tokens[0]} and {tokens[1]} tokens, and no plan says which are the same; open the pruned "
            "one from a folder with its plan.json"
        )
    if ours != theirs:
        raise InputError(
            "the vocabularies of the two models are cut differently, expected the same tokens; "
            "compare with infoprune.vocabulary.tokens.with_tokens_of(dense, small)"
        )


def plan_of(model: nn.Module) -> Plan | None:
    """Return the plan that a pruned model carries, counted from the dense model; None for a dense model."""
    plan: Plan | None = vars(model).get(CARRIED)
    return plan


def carry_plan(model: nn.Module, plan: Plan) -> None:
    """Attach a plan to a model, so that `save` can write it."""
    setattr(model, CARRIED, plan)
