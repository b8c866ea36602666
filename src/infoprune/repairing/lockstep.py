"""Lockstep: many forward passes that pause at the same module, so that the module can be re-fitted in between.

A bottom-up repair needs, at every site, the activations of all inputs after everything below is repaired. To run the
network again from the bottom for each site would cost a pass per site; to copy each family's forward and run it in
pieces would tie us to one version of transformers. Instead every pass runs in its own greenlet and is suspended inside
a hook until all others have reached it: one forward pass in total, for any architecture, all in one thread.

A suspended pass holds what its forward still needs there. So it pauses before a wide module where it can: the output
does not exist yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor, nn

from infoprune.measuring.measure import device_of
from infoprune.statistics.calibration import model_inputs
from infoprune.structure.scale import output_scale


@dataclass(frozen=True)
class PausedPass:
    """Forward pass that is paused before or after a module.

    Args:
        module: Path of the module.
        x: Input of the module, (batch, length, n). A pass that has paused before the module is resumed with a tensor
            in its place.
        y: Output of the module, (batch, length, o); where it has a scale, multiplied by that. Empty before the module.
        total: Output plus the residual, where there is one. A pass that has paused after the module is resumed with a
            tensor in its place. Empty before the module.
        residual: Before the module, what is going to be added to the output; None where nothing is, and after it.
    """

    module: str
    x: Tensor
    y: Tensor
    total: Tensor
    residual: Tensor | None = None


@dataclass(frozen=True)
class PausePoint:
    """Module at which all passes pause.

    Args:
        module: Path of the module.
        stream: Path of a module whose first input is the residual that is added to the output, or None.
        scale: Factors by which the output is multiplied before that, see `Site`.
        before: Whether they pause before the module instead of after it.
    """

    module: str
    stream: str | None
    scale: str | float | None = None
    before: bool = False


class Lockstep:
    """Forward passes of one model over several batches, which advance together from pause point to pause point.

    Args:
        model: Model in evaluation mode.
        batches: Keyword arguments of the model's forward, one mapping per pass.
        points: Pause points.
        plain: Whether the passes only give their outputs and are never changed. Then each runs on from a module to the
            next pause point, where the input of that module is no longer in memory: `x` of a `PausedPass` is empty,
            unless the pass has paused before the module.

    Examples:
        >>> with Lockstep(model, batches, points) as passes:
        ...     while paused := passes.advance():
        ...         passes.resume([each.total for each in paused])
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Mapping[str, Tensor]],
        points: Sequence[PausePoint],
        *,
        plain: bool = False,
    ) -> None:
        self._model, self._plain = model, plain
        self._found: dict[greenlet, PausedPass] = {}
        self._main = getcurrent()
        self._latest: dict[tuple[int, str], Tensor] = {}
        self._handles = [handle for point in points for handle in self._hooks(point)]
        self._passes = [greenlet(self._run(batch)) for batch in batches]
        self._sizes = {each: len(next(iter(batch.values()))) for each, batch in zip(self._passes, batches, strict=True)}
        self._left = dict.fromkeys(self._passes, len(points))
        self._replies: list[Tensor | None] = [None] * len(batches)

    def __enter__(self) -> Lockstep:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for each in self._passes:
            if each:  # still suspended: end it where it is
                each.throw(GreenletExit)

    def advance(self) -> list[PausedPass]:
        """Run every pass to its next pause point; the list is empty when the passes have ended."""
        paused = []
        with torch.no_grad():  # around the switches, never inside a pass: the grad mode belongs to the thread
            for index, each in enumerate(self._passes):
                if not each.dead:
                    reply, self._replies[index] = self._replies[index], None  # nothing is held but what a pass holds
                    stopped = each.switch(reply)
                    if stopped is not None:
                        paused.append(stopped)
        return paused

    def resume(self, tensors: Sequence[Tensor]) -> None:
        """Give each pass the tensor that replaces `x` or `total`, which else stay; they run at the next `advance`."""
        self._replies = list(tensors)

    def _run(self, batch: Mapping[str, Tensor]) -> Callable[..., None]:
        # with a cache, every pass would keep the keys and values of all layers below until all have ended
        without = {"use_cache": False} if "use_cache" in signature(self._model.forward).parameters else {}

        def run(_: object = None) -> None:
            device = device_of(self._model)
            with suppress(_PassDone):
                self._model(**model_inputs(batch, device), **without)
            self._give()

        return run

    def _give(self) -> None:
        """Pause a plain pass with what its last module returned, if there is any."""
        found = self._found.pop(getcurrent(), None)
        if found is not None:
            self._main.switch(found)

    def _hooks(self, point: PausePoint) -> Iterator[torch.utils.hooks.RemovableHandle]:
        """Register hooks that record the residual, and pause the pass before or after the module."""
        module = self._model.get_submodule(point.module)
        if point.stream is not None:
            yield self._model.get_submodule(point.stream).register_forward_pre_hook(self._record(point))
        if self._plain:
            yield module.register_forward_pre_hook(lambda *_: self._give())
        if point.before:
            yield module.register_forward_pre_hook(self._pause_before(point))
        else:
            yield module.register_forward_hook(self._pause_after(point))

    def _record(self, point: PausePoint) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._latest[id(getcurrent()), point.module] = inputs[0]

        return record

    def _residual(self, point: PausePoint, x: Tensor) -> Tensor | None:
        """Return the residual that the current pass has recorded, with the axes of the tokens of another tensor."""
        residual = self._latest.pop((id(getcurrent()), point.module), None)
        return None if residual is None else residual.reshape(*x.shape[:-1], residual.shape[-1])

    def _pause_before(self, point: PausePoint) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...] | None]:
        def pause(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            x, nothing = inputs[0], _nothing(inputs[0])
            paused = self._paused(point, x, nothing, nothing, self._residual(point, x))
            self._left[getcurrent()] -= 1
            reply: Tensor | None = self._main.switch(paused)
            return None if reply is None or reply is paused.x else (reply.reshape(x.shape), *inputs[1:])

        return pause

    def _pause_after(self, point: PausePoint) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        scale = output_scale(self._model, point.module, point.scale)

        def pause(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            residual = self._residual(point, output)
            added = output if scale is None else output * scale
            total = added if residual is None else added + residual
            if self._plain:
                self._found[getcurrent()] = self._paused(point, _nothing(inputs[0]), added, total)
                self._left[getcurrent()] -= 1
                if self._left[getcurrent()] == 0:  # nothing is wanted of what comes after, and its input is not held
                    raise _PassDone
                return output
            paused = self._paused(point, inputs[0], added, total)
            reply: Tensor | None = self._main.switch(paused)
            if reply is None or reply is paused.total:  # unchanged: not even rounded
                return output
            reply = reply.reshape(output.shape)
            reply = reply if residual is None else reply - residual
            return reply if scale is None else torch.where(scale == 0, output, reply / scale)

        return pause

    def _paused(
        self, point: PausePoint, x: Tensor, y: Tensor, total: Tensor, residual: Tensor | None = None
    ) -> PausedPass:
        size = self._sizes[getcurrent()]
        x, y, total = (_by_text(each, size) for each in (x, y, total))
        return PausedPass(point.module, x, y, total, None if residual is None else _by_text(residual, size))


class _PassDone(BaseException):
    """Raised within a plain pass after its last module."""


def _nothing(x: Tensor) -> Tensor:
    """Return a tensor without entries that has a vector for every token."""
    return x.new_empty(*x.shape[:-1], 0)


def _by_text(x: Tensor, size: int) -> Tensor:
    """Return (batch, length, n), also for a family that joins all tokens of a batch into one axis."""
    return x.reshape(size, len(x) // size, x.shape[-1]) if x.ndim == 2 else x
