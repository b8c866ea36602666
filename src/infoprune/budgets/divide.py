"""Divide: choose the sizes of all sites, such that the sum of the losses is least and the cost is within a limit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.budgets.costs import Costs
from infoprune.budgets.falling import falling
from infoprune.budgets.lagrange import Curve, least_loss
from infoprune.budgets.shape import Shape, free_shape
from infoprune.errors import InputError

ROUNDING = 1e-12
"""Relative tolerance for rounding errors: a budget of the whole model must keep all units."""
PRICES = tuple(10.0 ** (power / 8) for power in range(-40, 17))
"""Prices of a unit of cost, as multiples of the loss of all units per cost of the whole model."""
TURNS = 6
"""Most alternations between hidden sizes and other sizes; two or three are enough in practice."""
Losses = Mapping[str, Float[Tensor, " _"]]
"""By site name, (units + 1,): loss where 0, 1, ... units are kept."""


def divide(units: Mapping[str, int], costs: Costs, limit: float, losses: Losses, shape: Shape | None) -> dict[str, int]:
    """Return the sizes by site name that cost no more than the limit and have the least sum of losses.

    The cost of a unit depends on the hidden size. So for every hidden size that is tried, all other sizes are chosen by
    one Lagrange multiplier. Hidden sizes per layer have too many combinations to try them all: there, hidden sizes and
    other sizes are chosen in turn, each for the present value of the other, until the loss no longer falls.

    Args:
        units: Present number of units by site name.
        costs: Costs of the same sites.
        limit: Largest cost, in the unit of the costs.
        losses: Losses of the same sites.
        shape: Which sizes go together; by default every site has its own size.

    Raises:
        InputError: The costs are of other sites, or no shape is small enough.
    """
    check_sites(units.keys(), costs)
    room = limit * (1 + ROUNDING)
    if shape is None and costs.layers:
        best = _in_turns(units, costs, room, losses)
    else:
        chosen = shape or free_shape({name: costs.sizes[name] for name in units})
        best = _best(chosen.fixed, chosen.groups, units, costs, room, losses)
    if best is None:
        raise InputError(
            f"budget of {costs.quantity} cannot be met: the smallest shape that a stock config supports costs more; "
            "allow more, or pass `shape=free`"
        )
    return best[1]


def check_sites(names: Collection[str], costs: Costs) -> None:
    """Raise InputError where rankings and costs are not of the same sites."""
    if set(names) != costs.sites.keys() | {*costs.streams}:
        raise InputError(
            "the costs are of other sites than the rankings; find both for the same model and `structures`"
        )


def _in_turns(
    units: Mapping[str, int], costs: Costs, room: float, losses: Losses
) -> tuple[float, dict[str, int]] | None:
    """Return (loss, sizes by site name) after choosing the layers' hidden sizes and all other sizes in turn."""
    groups = tuple((name,) for name in units if name not in costs.streams)
    beside: Mapping[str, int] = units
    best = None
    for _ in range(TURNS):
        found = _best(tuple(_proposed(units, costs, losses, beside)), groups, units, costs, room, losses)
        if found is None or (best is not None and found[0] >= best[0]):
            break
        best, beside = found, found[1]
    return best


def _proposed(
    units: Mapping[str, int], costs: Costs, losses: Losses, beside: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """Yield distinct hidden sizes of all layers, each with the least loss at one price, beside the given units."""
    permitted = [[size for size in costs.sizes[name] if size <= units[name]] for name in costs.layers]
    lost = [losses[name][each].tolist() for name, each in zip(costs.layers, permitted, strict=True)]
    all_lost = sum(float(each[0]) for each in losses.values())
    seen = set()
    for price in PRICES:
        weights = [price * all_lost / costs.dense * each.beside(beside) for each in costs.layers.values()]
        hidden_sizes = tuple(falling(permitted, lost, weights))
        if hidden_sizes not in seen:
            seen.add(hidden_sizes)
            yield dict(zip(costs.layers, hidden_sizes, strict=True))


def _best(
    tried: Sequence[Mapping[str, int]],
    groups: Sequence[Sequence[str]],
    units: Mapping[str, int],
    costs: Costs,
    room: float,
    losses: Losses,
) -> tuple[float, dict[str, int]] | None:
    """Return (loss, sizes by site name) of the best plan with one of the given sets of sizes; None where none fits."""
    each = (_beside(fixed, groups, units, costs, room, losses) for fixed in tried)
    return min((one for one in each if one is not None), key=lambda one: one[0], default=None)


def _beside(
    fixed: Mapping[str, int],
    groups: Sequence[Sequence[str]],
    units: Mapping[str, int],
    costs: Costs,
    room: float,
    losses: Losses,
) -> tuple[float, dict[str, int]] | None:
    """Return (loss, sizes by site name) of the best plan with some sizes given; None where these do not fit."""
    if any(count > units[name] for name, count in fixed.items()):
        return None
    here = costs.at(fixed) if costs.streams else costs
    spent = here.rest + sum(float(here.sites[name][n]) for name, n in fixed.items() if name not in costs.streams)
    permitted = [_common([set(costs.sizes[name]) for name in group], min(units[n] for n in group)) for group in groups]
    options = [_options(each, here, losses) for each in _joined(groups, permitted, here)]
    chosen = least_loss([each.curve for each in options], room - spent)
    if chosen is None:
        return None
    lost = sum(float(losses[name][count]) for name, count in fixed.items())
    lost += sum(each.curve.losses[index] for each, index in zip(options, chosen, strict=True))
    return lost, dict(fixed) | {
        name: count
        for each, index in zip(options, chosen, strict=True)
        for names, count in zip(each.groups, each.counts[index], strict=True)
        for name in names
    }


Group = tuple[Sequence[str], Sequence[int]]
"""Sites that share one number of units, and the numbers that are permitted."""


@dataclass(frozen=True)
class _Options:
    """Sizes of a group of sites, or of two groups whose costs depend on each other.

    Args:
        groups: Names of the sites of each group.
        counts: Number of units of each group, option by option.
        curve: Costs and losses of the options.
    """

    groups: Sequence[Sequence[str]]
    counts: Sequence[tuple[int, ...]]
    curve: Curve


def _joined(groups: Sequence[Sequence[str]], permitted: Sequence[Sequence[int]], costs: Costs) -> list[list[Group]]:
    """Return the groups one by one, but experts together with their neurons, since their costs are no sum."""
    neurons = {pair.experts: pair.neurons for pair in costs.pairs}
    apart = {name: (group, each) for group, each in zip(groups, permitted, strict=True) for name in group}
    return [
        [apart[name], *([apart[neurons[name]]] if name in neurons else [])]
        for name in (group[0] for group in groups)
        if name not in neurons.values()
    ]


def _options(groups: Sequence[Group], costs: Costs, losses: Losses) -> _Options:
    """Return the sizes of one group, or those of experts and their neurons that lose less than all cheaper ones."""
    names = [group for group, _ in groups]

    def summed(curves: Losses, group: Group) -> Float[Tensor, " sizes"]:
        return sum((curves[name][list(group[1])] for name in group[0]), torch.zeros(()))

    if len(groups) == 1:
        (group,) = groups
        curve = Curve(summed(costs.sites, group).tolist(), summed(losses, group).tolist())
        return _Options(names, [(count,) for count in group[1]], curve)
    experts, neurons = groups
    cost = summed(costs.sites, experts)[:, None] + summed(costs.sites, neurons)
    for pair in (each for each in costs.pairs if each.neurons in neurons[0]):
        cost = cost + pair.more(costs.sites, experts[1], neurons[1])
    lost = summed(losses, experts)[:, None] + summed(losses, neurons)
    every = zip(cost.flatten().tolist(), lost.flatten().tolist(), product(experts[1], neurons[1]), strict=True)
    best: list[tuple[float, float, tuple[int, ...]]] = []
    for option in sorted(every):
        if not best or option[1] < best[-1][1]:
            best.append(option)
    return _Options(names, [each for *_, each in best], Curve([each[0] for each in best], [each[1] for each in best]))


def _common(sizes: Sequence[set[int]], most: int) -> list[int]:
    """Return the numbers of units that all sites of a group may keep, ascending."""
    return sorted(size for size in set.intersection(*sizes) if size <= most)
