"""Replay: run some layers of a model once more without those below them, whose outputs an earlier pass has kept.

The model's own forward is run, so that everything between the layers happens as the architecture has it. A layer below
returns what is kept instead of computing; after the last layer that is wanted the pass ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from infoprune.files.kept_tensors import KeptTensors


class _Ended(Exception):
    """Ends a pass after the last layer that is wanted."""


@dataclass
class LayerRun:
    """One pass: which calls of layers run, and what they got and gave.

    Calls are counted over the whole pass; a layer that is applied several times has several.

    Args:
        first: Number of the first call that runs; those below return what is kept.
        stop: Number of the call after the last one that runs; None for all, and what comes after them.
        part: Number of the part of the inputs, under which outputs are kept.
        keep: Numbers of the calls whose outputs are to be kept.
    """

    first: int = 0
    stop: int | None = None
    part: int = 0
    keep: Collection[int] = ()
    count: int = 0
    """Number of calls so far."""
    inside: int | None = None
    """Number of the call that is running."""
    entered: dict[int, Tensor] = field(default_factory=dict)
    """Kept hidden states that the pass was given, with gradient, by call."""
    hidden: dict[int, Tensor] = field(default_factory=dict)
    """Hidden states that the calls of this pass returned, by call."""


class Replay:
    """Passes of a model whose layers can be left out.

    Args:
        model: The model.
        layers: Paths of the layers, of all stacks.
        kept: Store of the outputs.

    Examples:
        >>> with replay.installed():
        ...     replay.run(LayerRun(stop=2, keep={1}), batch)  # the first two layers
        ...     replay.run(LayerRun(first=2), batch)  # the others, and the head
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], kept: KeptTensors) -> None:
        self._model, self._layers, self._kept = model, layers, kept
        # a cache would keep the keys and values of all layers
        self._options = {"use_cache": False} if "use_cache" in signature(model.forward).parameters else {}
        self._specs: dict[tuple[int, int], tuple[TreeSpec, list[Any]]] = {}
        self.now = LayerRun()
        self.called: list[str] = []
        """Paths of the layers in the order of their calls, as of the last whole pass."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Route the calls of the layers through this object within the block."""
        modules = {path: self._model.get_submodule(path) for path in self._layers}
        before = {path: vars(module).get("forward") for path, module in modules.items()}
        for path, module in modules.items():
            vars(module)["forward"] = partial(self._call, path, module.forward)
        try:
            yield
        finally:
            for path, module in modules.items():
                if before[path] is None:
                    del vars(module)["forward"]
                else:
                    vars(module)["forward"] = before[path]

    def run(self, run: LayerRun, inputs: Mapping[str, Tensor]) -> Mapping[str, Any] | None:
        """Run a pass; return the model's output, or None where the pass ended before it."""
        self.now = run
        if run.stop is None and run.first == 0:
            self.called = []
        try:
            output: Mapping[str, Any] = self._model(**inputs, **self._options)
        except _Ended:
            return None
        return output

    def needed(self, call: int, first: int) -> bool:
        """Return whether a pass from call `first` on reads the kept output of a call below.

        It reads that of the call right below, and that of the last layer of another stack.
        """
        return call == first - 1 or self._stack(call) != self._stack(call + 1)

    def _stack(self, call: int) -> str:
        return self.called[call].rpartition(".")[0]

    def _call(self, path: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        run, call = self.now, self.now.count
        run.count += 1
        if call < run.first:
            return self._recalled(run, call)
        run.inside = call
        output = forward(*args, **kwargs)
        run.inside = None
        if run.stop is None and run.first == 0:
            self.called.append(path)
        leaves, spec = tree_flatten(output)
        run.hidden[call] = leaves[_first_floating(leaves)]
        if call in run.keep:
            self._keep(run.part, call, leaves, spec)
        if run.stop is not None and run.count == run.stop:
            raise _Ended
        return output

    def _keep(self, part: int, call: int, leaves: list[Any], spec: TreeSpec) -> None:
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self._kept.put((part, call), tensors)
        places = iter(range(len(tensors)))
        self._specs[part, call] = spec, [next(places) if isinstance(each, Tensor) else (each,) for each in leaves]

    def _recalled(self, run: LayerRun, call: int) -> Any:  # noqa: ANN401
        """Return the kept output of a call; one that nobody reads is that of the next call that is kept."""
        kept = call
        while (run.part, kept) not in self._specs:
            kept += 1
        spec, places = self._specs[run.part, kept]
        if kept != call or not self.needed(call, run.first):
            tensors = self._kept.shapes((run.part, kept))
            return tree_unflatten([tensors[at] if isinstance(at, int) else at[0] for at in places], spec)
        tensors = self._kept.get((run.part, kept))
        leaves = [tensors[at] if isinstance(at, int) else at[0] for at in places]
        hidden = leaves[_first_floating(leaves)].requires_grad_(torch.is_grad_enabled())
        run.entered[call] = hidden
        return tree_unflatten(leaves, spec)


def _first_floating(leaves: Sequence[object]) -> int:
    """Return the position of the hidden states in an output: its first tensor of floating point numbers."""
    return next(at for at, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point())
