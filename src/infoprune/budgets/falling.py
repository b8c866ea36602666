"""Falling: choose sizes that never grow from one list to the next, with the least sum of losses and costs."""

from __future__ import annotations

from collections.abc import Sequence


def falling(sizes: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], weights: Sequence[float]) -> list[int]:
    """Return one size of every list, none larger than the last, such that sum_l losses_l + weights_l size_l is least.

    By dynamic programming from the last list to the first: best_l(s) is the least sum of the lists from l on if none of
    their sizes is larger than s.

    Args:
        sizes: Sizes of every list, ascending; all lists begin with the same size.
        losses: Loss of each size.
        weights: Cost of a unit of size in every list.

    Examples:
        >>> falling([(1, 2), (1, 2)], [(9, 5), (9, 0)], weights=(1, 1))
        [2, 2]
    """
    above = [0.0] * len(sizes[-1])  # sum of the later lists, by their largest permitted size
    given: Sequence[int] = sizes[-1]
    picks: list[list[int]] = []
    for own, lost, weight in reversed(list(zip(sizes, losses, weights, strict=True))):
        later = [above[max(index for index, size in enumerate(given) if size <= mine)] for mine in own]
        costs = [loss + weight * size + rest for loss, size, rest in zip(lost, own, later, strict=True)]
        best = [min(range(most + 1), key=costs.__getitem__) for most in range(len(own))]
        picks.append(best)
        above, given = [costs[index] for index in best], own
    found: list[int] = []
    for own, best in zip(sizes, reversed(picks), strict=True):
        most = found[-1] if found else own[-1]
        found.append(own[best[max(index for index, size in enumerate(own) if size <= most)]])
    return found
