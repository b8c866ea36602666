"""Siblings: modules that read the same tensor, which a repair re-fits in one pause of all passes.

Such are the two producers of gated neurons, and those of queries, keys and values. Were they re-fitted one by one, each
pass would hold what the earlier ones gave, which is wider than what they read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from transformers import PreTrainedModel

from infoprune.repairing.lockstep import Lockstep
from infoprune.repairing.refit_steps import RefitStep
from infoprune.statistics.calibration import Batch
from infoprune.structure.modes import evaluation_mode


def find_siblings(
    model: PreTrainedModel, batches: Sequence[Batch], steps: Mapping[str, RefitStep]
) -> list[list[RefitStep]]:
    """Return the steps of a repair in the order of the passes, those together that are taken in one pause.

    These are early steps that follow each other and read the same tensor, as a pass of the smallest batch shows.

    Args:
        model: The pruned model.
        batches: Tokenised inputs.
        steps: The steps by path.
    """
    smallest = min(batches, key=lambda batch: sum(each.numel() for each in batch.values()))
    found: list[list[RefitStep]] = []
    before: tuple[Tensor, int] | None = None
    with evaluation_mode(model), Lockstep(model, [smallest], [step.point for step in steps.values()]) as passes:
        for _ in steps:  # and no further: what comes after the last module is of no use
            for paused in passes.advance():
                step = steps[paused.module]
                if step.early and before is not None and _is_same(paused.x, *before):
                    found[-1].append(step)
                else:
                    found.append([step])
                # the tensor is held, so that no other takes its place in memory
                before = (paused.x, paused.x._version) if step.early else None
    return found


def _is_same(x: Tensor, other: Tensor, version: int) -> bool:
    """Return whether two tensors are the same entries in memory, unchanged since the other had a version."""
    places = [(each.data_ptr(), each.dtype, each.shape, each.stride()) for each in (x, other)]
    return x.numel() > 0 and places[0] == places[1] and x._version == version
