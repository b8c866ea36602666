"""Segments: runs of layers whose statistics and graph fit into memory together, collected one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.files.kept_tensors import KeptTensors
from infoprune.measuring.free_memory import free_memory
from infoprune.measuring.measure import device_of
from infoprune.statistics.calibration import Progress, model_inputs
from infoprune.statistics.micro_batches import MicroBatch, length_of, outputs_of
from infoprune.statistics.on_disk import EIGHT, site_bytes
from infoprune.statistics.taps import readers_of, tapped
from infoprune.structure.experts import expert_reader
from infoprune.structure.linear import linear
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.replay import LayerRun, Replay
from infoprune.structure.site import Site

ROWS = 5
"""How often a reader's input is held beside the graph."""

SLACK = 1.15
"""Factor for memory that allocators and libraries take beside what is counted."""

ANSWERS = 4
"""How often the outputs are held beside the graph."""


@dataclass(frozen=True)
class Segment:
    """Calls of layers that are run together, with what comes after the layers if it is the last one.

    Args:
        first: Number of the first call.
        stop: Number of the call after the last one; None for the last segment.
        sites: Sites whose readers are applied there, bottom to top.
    """

    first: int
    stop: int | None
    sites: tuple[Site, ...]


@dataclass(frozen=True)
class Survey:
    """What a pass over one text shows: when the readers are applied, and what the graph keeps.

    Args:
        calls: Number of calls of layers.
        applied: Numbers of the calls in which a site's readers are applied; the number of calls for what comes after
            the layers. Empty where a reader is applied before or between the layers.
        graph: Bytes per token that every call keeps for the backward pass, and what comes after them.
    """

    calls: int
    applied: dict[str, frozenset[int]]
    graph: tuple[float, ...]


def survey(model: PreTrainedModel, part: MicroBatch, sites: Sequence[Site], replay: Replay) -> Survey:
    """Run a model over the first text of a micro-batch, and see what happens in which layer."""
    one = {name: each[:1] for name, each in part.inputs.items()}
    own = {_storage(each) for each in (*model.parameters(), *model.buffers())}
    run = LayerRun()
    seen: dict[int, int] = {}
    graph: dict[int, int] = {}
    applied: dict[str, set[int]] = {site.name: set() for site in sites}

    def place() -> int:
        return run.count if run.inside is None else run.inside

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own and _storage(tensor) not in seen:
            seen[_storage(tensor)] = place()
            graph[place()] = graph.get(place(), 0) + tensor.untyped_storage().nbytes()
        return tensor

    def note(site: Site, path: str) -> torch.utils.hooks.RemovableHandle:
        def reached(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            applied[site.name].add(place() if run.inside is not None else -1 - run.count)
            for tensor in (inputs[0], output):
                keep(tensor)

        return model.get_submodule(path).register_forward_hook(reached)

    handles = [note(site, path) for site in sites for path in readers_of(site)]
    try:
        with (
            evaluation_mode(model, freeze=True),
            tapped(model, sites),
            torch.enable_grad(),
            saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            replay.run(run, model_inputs(one, device_of(model)))
    finally:
        for handle in handles:
            handle.remove()
    calls, length = run.count, length_of(part.inputs)
    places = {name: frozenset(calls if at == -1 - calls else at for at in each) for name, each in applied.items()}
    known = {name: each if min(each, default=-1) >= 0 else frozenset[int]() for name, each in places.items()}
    return Survey(calls, known, tuple(graph.get(call, 0) / length for call in range(calls + 1)))


def segments(
    model: PreTrainedModel,
    sites: Sequence[Site],
    parts: Sequence[MicroBatch],
    memory: int | None,
    replay: Replay,
    *,
    importance_only: bool = False,
) -> list[Segment]:
    """Divide the calls of the layers into segments, bottom to top, that take at most `memory` bytes each.

    Args:
        model: The model.
        sites: Sites that are to be collected, bottom to top.
        parts: The inputs.
        memory: Bytes for statistics and graph; None for half of what is free, or what one layer takes if it is more.
        replay: Passes of the model.
        importance_only: Whether only the token importance is collected, which takes hardly any memory.

    Raises:
        InputError: One layer alone takes more, or the model's layers cannot be run apart.
    """
    strict = memory is not None
    memory = free_memory(device_of(model)) // 2 if memory is None else memory
    seen = survey(model, parts[0], sites, replay)
    tokens = max(part.tokens for part in parts)
    bytes_of = {site.name: 0 if importance_only else _bytes(model, site) for site in sites}
    fixed = _rows(model, sites, tokens) + ANSWERS * tokens * outputs_of(model) * model.dtype.itemsize
    whole = fixed + sum(bytes_of.values()) + tokens * sum(seen.graph)
    memory = int(memory / SLACK)
    if whole <= memory:
        return [Segment(0, None, tuple(sites))]
    fixed += max(bytes_of.values())  # a site that is being written
    lone = [name for name, calls in seen.applied.items() if len(calls) != 1]
    if not strict and (lone or seen.calls < 2):
        return [Segment(0, None, tuple(sites))]
    if lone or seen.calls < 2:
        raise InputError(
            f"the graph and the statistics take {_mebibytes(SLACK * whole)} MiB, and `memory` leaves "
            f"{_mebibytes(SLACK * memory)} for them; "
            f"allow as much: {lone[0] if lone else 'the only layer'} cannot be collected apart from other layers"
        )
    at = {name: min(next(iter(calls)), seen.calls - 1) for name, calls in seen.applied.items()}
    found: list[Segment] = []
    stop, taken = seen.calls, fixed + tokens * seen.graph[-1]
    for call in reversed(range(seen.calls)):
        more = sum(bytes_of[name] for name, place in at.items() if place == call) + tokens * seen.graph[call]
        alone = fixed + more + (tokens * seen.graph[-1] if call == seen.calls - 1 else 0)
        if strict and alone > memory:
            raise InputError(
                f"the graph and the statistics of layer {call} take {_mebibytes(SLACK * alone)} MiB, and `memory` "
                f"leaves {_mebibytes(SLACK * memory)} for them; allow {_mebibytes(SLACK * (alone - memory))} more"
            )
        if taken + more > memory and stop > call + 1:
            found.append(_segment(call + 1, stop, seen.calls, sites, at))
            stop, taken = call + 1, fixed
        taken += more
    found.append(_segment(0, stop, seen.calls, sites, at))
    return found[::-1]


def keep_states(
    model: PreTrainedModel,
    parts: Sequence[MicroBatch],
    divided: Sequence[Segment],
    replay: Replay,
    kept: KeptTensors,
    progress: Progress | None,
    *,
    directions: int,
    importance_only: bool = False,
) -> None:
    """Run the model once, up to the last segment, and keep on disk what every segment reads from those below.

    Args:
        model: The model.
        parts: The inputs.
        divided: The segments.
        replay: Passes of the model.
        kept: Store of the states.
        progress: Called with (parts done, parts in all).
        directions: Number of gradients that will come down to a segment.
        importance_only: Whether no statistics will be written.

    Raises:
        InputError: The disk has no room for it, for the gradients at one segment, or for the statistics.
    """
    itemsize = torch.promote_types(model.dtype, torch.float32).itemsize
    sites = [] if importance_only else [site for segment in divided for site in segment.sites]
    statistics = sum(_bytes(model, site, itemsize) for site in sites)
    firsts = [segment.first for segment in divided[1:]]
    keep = {call for first in firsts for call in range(first) if replay.needed(call, first)}
    device = device_of(model)
    with evaluation_mode(model), torch.no_grad():
        for index, part in enumerate(parts):
            replay.run(LayerRun(0, max(keep) + 1, index, keep), model_inputs(part.inputs, device))
            if index == 0:
                states = kept.bytes * sum(each.tokens for each in parts) // part.tokens
                kept.check_room(statistics + states + directions * states // len(firsts))
            if progress is not None:
                progress(index + 1, len(parts))


def _segment(first: int, stop: int, calls: int, sites: Sequence[Site], at: Mapping[str, int]) -> Segment:
    inside = tuple(site for site in sites if first <= at[site.name] < stop)
    return Segment(first, None if stop == calls else stop, inside)


def _bytes(model: nn.Module, site: Site, itemsize: int = EIGHT) -> int:
    if site.whole_experts:  # its statistics are some numbers for every token and expert
        return site_bytes(0, site.units, site.units)
    weight = linear(model, site.reader).weight if site.expert is None else expert_reader(model, site, site.expert)
    outputs, inputs = weight.shape
    return site_bytes(inputs if site.streams else outputs, inputs, site.units, itemsize)


def _rows(model: PreTrainedModel, sites: Sequence[Site], tokens: int) -> int:
    """Return the bytes of a reader's input while its moments are added up."""
    widest = max(
        model.get_parameter(f"{site.reader if site.routing is None else site.routing.router}.weight").shape[1]
        for site in sites
    )
    return ROWS * tokens * widest * max(4, model.dtype.itemsize)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _mebibytes(number: float) -> str:
    return f"{math.ceil(number / 2**20):,}"
