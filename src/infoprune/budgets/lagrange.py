"""Lagrange: choose the size of every site, such that the losses' sum is least and the costs' sum is within a limit.

Minimise sum_s loss_s(k_s) subject to sum_s cost_s(k_s) <= room. For a multiplier m >= 0 the sites are independent: each
minimises loss_s + m cost_s, and the solutions are the corners of the lower convex envelope of (cost_s, loss_s). So one
pass over the corners of all envelopes, steepest first, visits every solution of the relaxed problem; the last step that
fits into the room gives the multiplier. The rest of the room is filled with single steps, the best that fits first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import merge


@dataclass(frozen=True)
class Curve:
    """Costs and losses of a site's permitted sizes, the smallest size first.

    Args:
        costs: Cost of each size, ascending.
        losses: Loss of each size in nats, not ascending.
    """

    costs: Sequence[float]
    losses: Sequence[float]


def least_loss(curves: Sequence[Curve], room: float) -> list[int] | None:
    """Return the index of a size of every curve, such that the costs fit into the room and the loss is nearly least.

    The room that is left is less than one more step of any curve. The corners are optimal for the relaxed problem: the
    loss is above the least possible by at most that of one step between two corners.

    Args:
        curves: Curve of every site.
        room: Largest sum of the costs.

    Returns:
        An index into every curve; None where even the smallest sizes do not fit.

    Source:
        H. Everett, *Generalized Lagrange multiplier method for solving problems of optimum allocation of resources*,
        Operations Research 11, 1963.

    Examples:
        >>> least_loss([Curve((1, 2, 3), (9, 1, 0)), Curve((1, 2, 3), (9, 5, 0))], room=5)
        [1, 2]
    """
    chosen = [0] * len(curves)
    spent = sum(curve.costs[0] for curve in curves)
    if spent > room:
        return None
    for _, site, corner in merge(*(_segments(curve, site) for site, curve in enumerate(curves))):
        step = curves[site].costs[corner] - curves[site].costs[chosen[site]]
        if spent + step > room:
            break
        chosen[site], spent = corner, spent + step
    return _filled(curves, chosen, room)


def _segments(curve: Curve, site: int) -> list[tuple[float, int, int]]:
    """Return (-slope, site, corner) of every corner of the lower convex envelope but the first, ascending."""
    corners = [0]
    slopes: list[float] = []
    for point in range(1, len(curve.costs)):
        slope = _slope(curve, corners[-1], point)
        while slopes and slope >= slopes[-1]:  # the last corner is above the line to this point
            corners.pop()
            slopes.pop()
            slope = _slope(curve, corners[-1], point)
        corners.append(point)
        slopes.append(slope)
    return [(-slope, site, corner) for slope, corner in zip(slopes, corners[1:], strict=True)]


def _slope(curve: Curve, low: int, high: int) -> float:
    """Return the loss saved per cost between two sizes; infinite where the step costs nothing."""
    saved, cost = curve.losses[low] - curve.losses[high], curve.costs[high] - curve.costs[low]
    return saved / cost if cost > 0 else float("inf")


def _filled(curves: Sequence[Curve], chosen: list[int], room: float) -> list[int]:
    """Enlarge sizes while a step fits, always by the step that saves the most loss per cost."""
    chosen = list(chosen)
    while True:
        left = room - sum(curve.costs[index] for curve, index in zip(curves, chosen, strict=True))
        steps = [
            (_slope(curve, index, larger), -site, larger)
            for site, (curve, index) in enumerate(zip(curves, chosen, strict=True))
            for larger in range(index + 1, len(curve.costs))
            if curve.costs[larger] - curve.costs[index] <= left
        ]
        if not steps:
            return chosen
        _, site, larger = max(steps)
        chosen[-site] = larger
