"""Allowance: what graph and statistics may take where the memory of the process is limited."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget, Keep
from infoprune.errors import InputError
from infoprune.forecasting.forecast import forecast
from infoprune.forecasting.workload import Workload
from infoprune.measuring.free_memory import memory_in_use
from infoprune.measuring.measure import count_bytes, device_of
from infoprune.plan import STREAMS
from infoprune.statistics.calibration import Batch, reads_tokens, typical_shape

USUAL = 0.5
"""Share of the units that is assumed to stay where a budget does not say it."""


def allowance(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    memory: int | None,
    size: Keep | Budget,
    *,
    structures: Collection[str] | None,
    repairs: bool,
) -> int | None:
    """Return the bytes that graph and statistics may take, so that all stages stay within the memory.

    What the process has taken already counts, and so do the smaller model, the matrices of a ranking, and the
    activations of all inputs at one step of the repair.

    Args:
        model: The model to cut.
        batches: Calibration inputs of this process.
        memory: Bytes that the process may take; None for no limit.
        size: Size of the result.
        structures: Types of structure to cut.
        repairs: Whether there is a repair.

    Raises:
        InputError: The memory is not enough for ranking or repair; the message says how much is, and how many inputs.
    """
    if memory is None:
        return None
    used = memory_in_use(device_of(model))
    if not all(map(reads_tokens, batches)) or set(STREAMS) & set(structures or ()):
        return max(1, memory - used - count_bytes(model))
    inputs = sum(len(next(iter(batch.values()))) for batch in batches)
    at_once, length = typical_shape(batches, model.config)
    share = size.share if isinstance(size, Keep) else min(size.amount, 1.0) if size.quantity == "flops" else USUAL
    work = Workload(inputs, length, at_once, max(share, 0.01))
    expected = forecast(model, work, structures=structures)
    stages = expected.stages
    if repairs and used + stages["repair"].bytes > memory:
        least = forecast(model, Workload(1, length, 1, work.keep), structures=structures).stages["repair"].bytes
        each = max(1, (stages["repair"].bytes - least) // max(1, inputs - 1))
        fit = (memory - used - least) // each
        instead = f"pass at most {fit:,} texts" if fit >= 1 else "pass `repair=False`"
        raise InputError(
            f"the repair of {inputs:,} texts takes the process to {_mebibytes(used + stages['repair'].bytes)} MiB, and "
            f"`memory` allows {_mebibytes(memory)}; {instead}, or allow that much"
        )
    left = memory - used
    if expected.from_disk > left:
        raise InputError(
            f"ranking takes the process to {_mebibytes(used + expected.from_disk)} MiB, and `memory` allows "
            f"{_mebibytes(memory)}; allow that much"
        )
    statistics = sum(expected.sites.values())
    # statistics that leave no room for what follows go to disk, layer by layer
    return left if statistics + expected.from_disk <= left else min(left, int(0.95 * statistics))


def _mebibytes(number: float) -> str:
    return f"{math.ceil(number / 2**20):,}"
