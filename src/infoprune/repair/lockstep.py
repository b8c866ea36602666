"""Lockstep: many forward passes that pause at the same place, so that a module can be re-fitted in the middle of them.

A repair from the bottom up needs, at every site, the activations of all inputs after everything below is repaired.
Running the network again from the bottom for each site would cost a pass per site; copying each family's forward to run
it in pieces would tie us to one version of transformers. Instead every pass runs in its own greenlet and is suspended
inside a hook until all others have arrived: one forward pass in total, for any architecture, all in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor, nn

from infoprune.measuring.measure import device_of
from infoprune.statistics.calibration import model_inputs


@dataclass(frozen=True)
class Arrival:
    """One pass, paused where a linear module has written.

    Args:
        place: path of the linear module.
        x: its input.
        y: its output.
        total: its output with the residual added, where there is one; what the pass is resumed with takes its place.
    """

    place: str
    x: Tensor
    y: Tensor
    total: Tensor


@dataclass(frozen=True)
class Meeting:
    """A place to meet.

    Args:
        place: path of a linear module.
        stream: path of a module whose first input is the residual that is added to its output, or None.
    """

    place: str
    stream: str | None


class Lockstep:
    """Forward passes of one model over several batches, moved from meeting to meeting.

    Args:
        model: in eval mode.
        batches: keyword arguments of the model's forward, one mapping per pass.
        meetings: where to pause.

    Example:
        >>> with Lockstep(model, batches, meetings) as passes:
        ...     while arrivals := passes.arrive():
        ...         passes.resume([arrival.total for arrival in arrivals])
    """

    def __init__(self, model: nn.Module, batches: Sequence[Mapping[str, Tensor]], meetings: Sequence[Meeting]) -> None:
        self._model = model
        self._home = getcurrent()
        self._latest: dict[tuple[int, str], Tensor] = {}
        self._handles = [h for meeting in meetings for h in self._hooks(meeting)]
        self._passes = [greenlet(self._run(batch)) for batch in batches]
        self._rows = {each: len(next(iter(batch.values()))) for each, batch in zip(self._passes, batches, strict=True)}
        self._replies: list[Tensor | None] = [None] * len(batches)

    def __enter__(self) -> Lockstep:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for each in self._passes:
            if each:  # still suspended: end it where it stands
                each.throw(GreenletExit)

    def arrive(self) -> list[Arrival]:
        """Lets every pass run to its next meeting; empty when the passes are at their end."""
        arrivals = []
        with torch.no_grad():  # around the switches, never inside a pass: the grad mode belongs to the thread
            for index, each in enumerate(self._passes):
                if not each.dead:
                    arrival = each.switch(self._replies[index])
                    if arrival is not None:
                        arrivals.append(arrival)
        self._replies = [None] * len(self._passes)
        return arrivals

    def resume(self, totals: Sequence[Tensor]) -> None:
        """What each pass is to go on with in place of `total`, used at the next `arrive`."""
        self._replies = list(totals)

    def _run(self, batch: Mapping[str, Tensor]) -> Callable[..., None]:
        # Every pass would keep the keys and values of all layers below until all have come to the end.
        without = {"use_cache": False} if "use_cache" in signature(self._model.forward).parameters else {}

        def run(_: object = None) -> None:
            device = device_of(self._model)
            self._model(**model_inputs(batch, device), **without)

        return run

    def _hooks(self, meeting: Meeting) -> Iterator[torch.utils.hooks.RemovableHandle]:
        """The residual is noted before it is needed; the pass waits where the module's output appears."""

        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._latest[id(getcurrent()), meeting.place] = inputs[0]

        def pause(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            residual = self._latest.pop((id(getcurrent()), meeting.place), None)
            total = output if residual is None else output + residual
            rows = self._rows[getcurrent()]
            arrival = Arrival(meeting.place, *(_by_text(each, rows) for each in (inputs[0], output, total)))
            reply: Tensor = self._home.switch(arrival)
            if reply is arrival.total:  # nothing new: not even a rounding
                return output
            reply = reply.reshape(output.shape)
            return reply if residual is None else reply - residual

        yield self._model.get_submodule(meeting.place).register_forward_hook(pause)
        if meeting.stream is not None:
            yield self._model.get_submodule(meeting.stream).register_forward_pre_hook(note)


def _by_text(x: Tensor, rows: int) -> Tensor:
    """(inputs, length, n), also of a family that joins all tokens of a batch into one axis."""
    return x.reshape(rows, len(x) // rows, x.shape[-1]) if x.ndim == 2 else x
