"""Timed: sizes whose model, timed as a whole, takes as long as was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from transformers import PreTrainedModel

from infoprune.budgets.costs import Costs
from infoprune.measuring.measure import device_of, example_batch, measure_latency
from infoprune.surgery import outline

TRIES = 3
"""Sizes that are timed at most, until a model takes as long as was asked for."""

NEAR = 0.04
"""How far from that it may be, a share of it: about the noise of a measurement."""

REPEATS = 15


def as_timed(
    sizes: Callable[[float], dict[str, int]],
    limit: float,
    costs: Costs,
    timed: Callable[[Mapping[str, int]], float],
) -> dict[str, int]:
    """The sizes whose model takes nearest to a limit.

    A table of times adds up parts that were timed one by one, perhaps while other work ran. So the model that it
    proposes is timed, and where that misses, the table is asked for as much more or less as it was wrong.

    Args:
        sizes: by site name, units that stay where the table may add up to so much.
        limit: milliseconds, by the table.
        costs: the table.
        timed: what share of the dense model's time a model of such sizes takes.
    """
    asked, found = limit, {}
    for _ in range(TRIES):
        counts = sizes(limit)
        off = timed(counts) * costs.dense / asked
        found[abs(off - 1)] = counts
        if abs(off - 1) <= NEAR:
            break
        limit = min(max(limit / off, costs.least), costs.dense)
    return found[min(found)]


def time_share(model: PreTrainedModel, shape: tuple[int, int], counts: Mapping[str, int]) -> float:
    """What a model cut to some sizes takes of the time that it takes whole, both timed in alternating runs.

    Args:
        model: whole.
        shape: (inputs, tokens) of a batch.
        counts: by site name, units that are kept.
    """
    batch = example_batch(model.config, *shape, device=device_of(model))
    whole, small = measure_latency([model, outline(model, counts)], batch, repeats=REPEATS)
    return small.median / whole.median
