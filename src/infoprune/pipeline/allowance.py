"""Allowance: what a prune may take of a limited memory: bytes for graph and statistics, and texts for the repair."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget, Keep
from infoprune.errors import InputError
from infoprune.forecasting.forecast import forecast
from infoprune.forecasting.repair_cost import repair_bytes
from infoprune.forecasting.site_shape import SiteShape
from infoprune.forecasting.workload import Workload
from infoprune.measuring.free_memory import free_memory, memory_in_use
from infoprune.measuring.measure import count_bytes, device_of
from infoprune.plan import STREAMS
from infoprune.repairing.augmentation import augmentations_for
from infoprune.statistics.calibration import Batch, reads_tokens, typical_shape
from infoprune.structure.sites import find_sites

USUAL = 0.5
"""Share of the units that is assumed to stay where a budget does not say it."""

UNEVEN = 2.0
"""Largest share of a site's units that is assumed to stay, over that of all, where a budget divides them."""

FREE = 0.9
"""Share of the free memory that a repair may take where no limit is given."""

MARGIN = 1.1
"""Factor of what a repair is allowed for: a forecast is right to about a tenth, and a limit is not to be passed."""

LEAST = 64
"""Fewest texts to which a repair is reduced: with fewer, regressions fit the texts and not the language."""

LONG = 8192
"""Tokens of fewer texts that do as well, where texts are long."""


@dataclass(frozen=True)
class Allowance:
    """What a prune may take.

    Args:
        graph: Bytes that graph and statistics may take; None for no limit.
        texts: Number of inputs that a repair may hold at once in this process; None for all.
    """

    graph: int | None = None
    texts: int | None = None

    def for_repair(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches that the repair reads: as many as may be held, evenly spread."""
        inputs = _count(batches)
        if self.texts is None or self.texts >= inputs:
            return list(batches)
        count = max(1, len(batches) * self.texts // inputs)
        return [batches[index * len(batches) // count] for index in range(count)]


def allowance(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    memory: int | None,
    size: Keep | Budget,
    *,
    structures: Collection[str] | None,
    repairs: bool,
    augmentations: int | None = None,
) -> Allowance:
    """Return what may be taken so that all stages stay within the memory.

    What the process has taken already counts, and so do the smaller model, the matrices of a ranking, and the
    activations of the inputs at one step of the repair. Where those of all inputs are too many, the repair reads fewer
    inputs, and a warning says how many.

    Args:
        model: The model to cut.
        batches: Calibration inputs of this process.
        memory: Bytes that the process may take; None for what is free, which limits the repair alone.
        size: Size of the result.
        structures: Types of structure to cut.
        repairs: Whether there is a repair.
        augmentations: Number of augmentations of every input in the repair; None for the number that it chooses.

    Raises:
        InputError: The memory is not enough for ranking, or for a repair of few inputs; the message says how much is.
    """
    device = device_of(model)
    used = memory_in_use(device)
    if not all(map(reads_tokens, batches)) or set(STREAMS) & set(structures or ()):
        return Allowance(None if memory is None else max(1, memory - used - count_bytes(model)))
    at_once, length = typical_shape(batches, model.config)
    share = size.share if isinstance(size, Keep) else min(size.amount, 1.0) if size.quantity == "flops" else USUAL
    work = Workload(_count(batches), length, at_once, max(share, 0.01))
    texts = None
    if repairs:
        limit = used + int(FREE * free_memory(device)) if memory is None else memory
        most = work.keep if isinstance(size, Keep) else min(1.0, UNEVEN * work.keep)
        texts = _texts(model, batches, work, most, structures, used, limit, augmentations, strict=memory is not None)
    if memory is None:
        return Allowance(texts=texts)
    expected = forecast(model, work, structures=structures)
    left = memory - used
    if expected.from_disk > left:
        raise InputError(
            f"ranking takes the process to {_mebibytes(used + expected.from_disk)} MiB, and `memory` allows "
            f"{_mebibytes(memory)}; allow that much"
        )
    statistics = sum(expected.sites.values())
    # statistics that leave no room for what follows go to disk, layer by layer
    return Allowance(left if statistics + expected.from_disk <= left else min(left, int(0.95 * statistics)), texts)


def _texts(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    work: Workload,
    most: float,
    structures: Collection[str] | None,
    used: int,
    limit: int,
    augmentations: int | None,
    *,
    strict: bool,
) -> int | None:
    """Return how many inputs a repair can hold within the limit, or None for all.

    Raises:
        InputError: Not even a few can be held, and the limit is strict.
    """
    sites = find_sites(model, structures)
    shapes = [SiteShape.of(model, site) for site in sites]

    def taken(samples: int, again: int) -> int:
        held = repair_bytes(model, shapes, Workload(samples, length, 1, work.keep), again, most=most)
        return used + round(MARGIN * held)

    length, inputs = work.max_length, work.samples
    if taken(inputs, 3 if augmentations is None else augmentations) <= limit:
        return None
    again = augmentations_for(model, batches, sites) if augmentations is None else augmentations
    whole, one = taken(inputs, again), taken(1, again)
    if whole <= limit:
        return None
    fit = int((limit - one) // max(1.0, (whole - one) / max(1, inputs - 1)))
    few = min(LEAST, math.ceil(LONG / length), inputs)
    there = f"{'`memory` allows' if strict else 'the machine has'} {_mebibytes(limit)}"
    if fit < few and strict:
        raise InputError(
            f"the repair of {few} texts takes the process to {_mebibytes(taken(few, again))} MiB, and {there}; "
            "allow that much, or pass `repair=False`"
        )
    read = max(fit, few)
    warnings.warn(
        f"the repair reads {read:,} of the {inputs:,} texts: all would take the process to {_mebibytes(whole)} MiB, "
        f"and {there}",
        stacklevel=4,
    )
    return read


def _count(batches: Sequence[Batch]) -> int:
    return sum(len(next(iter(batch.values()))) for batch in batches)


def _mebibytes(number: float) -> str:
    return f"{math.ceil(number / 2**20):,}"
