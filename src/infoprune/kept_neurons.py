"""Kept neurons: which neurons of each expert a plan keeps, beside its number of units."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from infoprune.errors import InputError

EXPERTS = "experts"
"""Type of the sites whose units are the experts of a layer."""
EXPERT_NEURONS = "expert-neurons"
"""Type of the sites whose units are neurons, of which every expert of a layer keeps the same number."""

Kept = Mapping[str, tuple[int, ...]]
"""Kept units by site name, as in a plan."""
Neurons = Mapping[str, tuple[tuple[int, ...], ...]]
"""Kept neurons of each expert that stays, by site name, as in a plan."""


def experts_beside(site: str) -> str:
    """Return the name of the site with the experts whose neurons another site has.

    Examples:
        >>> experts_beside("layers.0.expert-neurons")
        'layers.0.experts'
    """
    return site.removesuffix(EXPERT_NEURONS) + EXPERTS


def check_neurons(units: Mapping[str, int], kept: Kept, neurons: Neurons) -> None:
    """Raise InputError where the neurons of a plan do not fit its units."""
    for site, rows in neurons.items():
        if site not in kept:
            raise InputError(f"plan: 'neurons' names {site}, which 'kept' does not, expected sites of both")
        experts = kept.get(experts_beside(site))
        if not rows or (experts is not None and len(rows) != len(experts)):
            raise InputError(f"plan: 'neurons' of {site} are of {len(rows)} experts, expected those of all that stay")
        for row in rows:
            outside = any(not 0 <= neuron < units[site] for neuron in row[:1] + row[-1:])
            if len(row) != len(kept[site]) or outside or any(a >= b for a, b in pairwise(row)):
                raise InputError(
                    f"plan: 'neurons' of {site} are not {len(kept[site])} for every expert, ascending, distinct and "
                    f"within 0..{units[site] - 1}"
                )


def neurons_after(kept: Kept, neurons: Neurons, later_kept: Kept, later_neurons: Neurons) -> Neurons:
    """Return the kept neurons of two cuts as those of one, by their numbers before both.

    Args:
        kept: Units that the first cut keeps.
        neurons: Neurons that it keeps.
        later_kept: Units that the second cut keeps, by their numbers between the cuts.
        later_neurons: Neurons that it keeps.
    """
    found: dict[str, tuple[tuple[int, ...], ...]] = {}
    for site in {**neurons, **later_neurons}:
        if site not in kept:
            found[site] = later_neurons[site]
            continue
        if site in neurons:
            experts = later_kept.get(experts_beside(site), range(len(neurons[site])))
            rows = [neurons[site][expert] for expert in experts]
        else:
            rows = [kept[site]] * len(later_neurons[site])
        if site in later_kept:
            left = later_neurons.get(site, (later_kept[site],) * len(rows))
            rows = [tuple(row[unit] for unit in own) for row, own in zip(rows, left, strict=True)]
        found[site] = tuple(rows)
    return found
