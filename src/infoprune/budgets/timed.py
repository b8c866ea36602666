"""Timed: choose sizes whose model, timed as a whole, meets a latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from transformers import PreTrainedModel

from infoprune.budgets.costs import Costs
from infoprune.measuring.measure import device_of, example_batch, measure_latency
from infoprune.surgery import outline

TRIES = 3
"""Most models that are timed."""

NEAR = 0.04
"""Relative tolerance of the latency: about the noise of a measurement."""

REPEATS = 15


def as_timed(
    sizes: Callable[[float], dict[str, int]],
    limit: float,
    costs: Costs,
    timed: Callable[[Mapping[str, int]], float],
) -> dict[str, int]:
    """Return the sizes whose model has the latency nearest to a limit.

    The table of times adds up parts that were timed one by one, perhaps while other work ran. So the proposed model is
    timed as a whole, and where its time misses the limit, the table's limit is corrected by the ratio of the two.

    Args:
        sizes: Function from the table's limit in milliseconds to the number of units by site name.
        limit: Latency in milliseconds, in the scale of the table.
        costs: The table.
        timed: Function from sizes to the model's time, as a share of the dense model's.
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
    """Return the time of a cut model as a share of the whole model's, both timed in alternating runs.

    Args:
        model: The whole model.
        shape: (inputs, tokens) of a batch.
        counts: Number of units that are kept, by site name.
    """
    batch = example_batch(model.config, *shape, device=device_of(model))
    whole, small = measure_latency([model, outline(model, counts)], batch, repeats=REPEATS)
    return small.median / whole.median
