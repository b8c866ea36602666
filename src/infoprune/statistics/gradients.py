"""Gradients: what the segments above hand down to those below, at the outputs of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from infoprune.files.kept_tensors import KeptTensors
from infoprune.structure.replay import LayerRun


class Gradients:
    """Gradients of every direction at the outputs of calls, summed over the segments that read an output.

    Args:
        kept: Store of the gradients.
    """

    def __init__(self, kept: KeptTensors) -> None:
        self._kept = kept

    def add(self, part: int, direction: int, found: Mapping[int, Tensor | None]) -> None:
        """Add the gradients at the outputs of some calls, by their numbers."""
        for call, gradient in found.items():
            if gradient is not None:
                key = "gradient", part, direction, call
                before = self._kept.get(key)[0] if key in self._kept else 0
                self._kept.put(key, [gradient + before])

    def passed_on(self, part: int, run: LayerRun, arriving: Sequence[Tensor]) -> Iterator[tuple[Tensor | None, ...]]:
        """Yield, for every direction, the gradients at activations of a run, from those at what its calls returned.

        What is read is deleted: no other run needs it.

        Args:
            part: Number of the part of the inputs.
            run: The run, whose graph is freed with the last direction.
            arriving: Activations.
        """
        count = self._directions(part, run)
        for direction in range(count):
            known = {call: ("gradient", part, direction, call) for call in run.hidden}
            known = {call: key for call, key in known.items() if key in self._kept and run.hidden[call].requires_grad}
            if not known:
                yield (None,) * len(arriving)
                continue
            yield torch.autograd.grad(
                [run.hidden[call] for call in known],
                arriving,
                [self._kept.get(key)[0].to(run.hidden[call]) for call, key in known.items()],
                retain_graph=direction + 1 < count,
                allow_unused=True,
            )
            for key in known.values():
                self._kept.drop(key)

    def _directions(self, part: int, run: LayerRun) -> int:
        """Return how many directions have come down to the outputs of a run."""
        count = 0
        while any(("gradient", part, count, call) in self._kept for call in run.hidden):
            count += 1
        return count
