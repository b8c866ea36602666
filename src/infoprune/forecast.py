"""Forecast: what a cut will take, from a model without weights: memory, operations and time of every stage."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel

from infoprune.budgets.budget import Keep
from infoprune.errors import InputError
from infoprune.measuring.measure import count_bytes, count_flops, count_parameters, example_batch, example_length
from infoprune.measuring.speed import product_rate
from infoprune.repair.copies import copies_wanted
from infoprune.repair.gauss_newton import ITERATIONS
from infoprune.repair.neurons import PER_INPUT, STEPS
from infoprune.repair.repair import FOLDS
from infoprune.repair.ridge import GRID, MIXTURES
from infoprune.statistics.answer import read_answer
from infoprune.statistics.calibration import real_tokens
from infoprune.statistics.demand import direction_count
from infoprune.statistics.groups import EIGHT, groups, site_bytes
from infoprune.structure.embeddings import count_rows
from infoprune.structure.linear import linear
from infoprune.structure.offload import hollow
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites

STAGES = ("collect", "rank", "repair")
SLACK = 1.15
"""What allocators round up and leave unused, as benchmarks/memory.py found it."""
MATRICES = 6
"""Matrices of a site's size that ranking or compensating it holds beside the statistics."""
SLOWNESS = 2
"""Elimination works on vectors: so many times slower, operation by operation, than matrix products."""
SLOWER = {"collect": 2.2, "rank": 1.55, "repair": 3.2}
"""So many times longer than its products at full speed a stage takes, for what is small or goes element by element:
as benchmarks/memory.py found it, between MiniLM and SmolLM2."""


@dataclass(frozen=True)
class Workload:
    """The texts, and how they are computed.

    Args:
        samples: texts.
        length: tokens of each.
        batch_size: texts that are computed together.
        keep: share of the units that stays.
        memory: bytes that the statistics may take at once, or None.

    Raises:
        InputError: a number is out of range.
    """

    samples: int = 1024
    length: int = 128
    batch_size: int = 32
    keep: float = 0.5
    memory: int | None = None

    def __post_init__(self) -> None:
        numbers = {"samples": self.samples, "max-length": self.length, "batch-size": self.batch_size}
        for option, number in numbers.items():
            if number < 1:
                raise InputError(f"--{option} is {number}, expected a number above 0; pass a larger one")
        Keep(self.keep)

    @property
    def tokens(self) -> int:
        """Of a batch."""
        return min(self.samples, self.batch_size) * self.length


@dataclass(frozen=True)
class Stage:
    """What a stage takes.

    Args:
        bytes: at its peak, beyond the model.
        flops: in the model's own precision.
        exact: in float64; elimination counts several times.
        seconds: on this machine; None where that was not asked for.
    """

    bytes: int
    flops: float
    exact: float
    seconds: float | None = None


@dataclass(frozen=True)
class Forecast:
    """What `compress` will take, give or take a third.

    Args:
        parameters: of the model.
        bytes: of its weights.
        forward: FLOPs of one pass over all texts.
        passes: over the texts, one for each group of sites.
        sites: bytes of the statistics of every site.
        stages: by name: "collect", "rank" (and prune), "repair".
    """

    parameters: int
    bytes: int
    forward: float
    passes: int
    sites: dict[str, int]
    stages: dict[str, Stage]

    @property
    def peak(self) -> int:
        """Bytes at the peak, the model included."""
        return self.bytes + max(stage.bytes for stage in self.stages.values())

    @property
    def seconds(self) -> float | None:
        """On this machine, altogether."""
        taken = [stage.seconds for stage in self.stages.values() if stage.seconds is not None]
        return sum(taken) if taken else None


@dataclass(frozen=True)
class _Shape:
    """Numbers of a site: outputs and inputs of the reader, and (rows, inputs) of every producer that is re-fitted."""

    outputs: int
    inputs: int
    bytes: int
    producers: tuple[tuple[int, int], ...]
    neurons: bool

    def refits_neurons(self, tokens: int) -> bool:
        """Whether what writes the units is re-fitted together with the reader."""
        return self.neurons and tokens >= PER_INPUT * self.producers[0][1]

    @property
    def parts(self) -> int:
        """Rows for every neuron."""
        return sum(rows for rows, _ in self.producers) // self.inputs


def forecast(
    model: PreTrainedModel, work: Workload, *, kinds: Collection[str] | None = None, device: torch.device | None = None
) -> Forecast:
    """What `compress` will take: no weight is read, no text is computed.

    Memory is that of the largest of each stage's parts: the statistics of a group of sites with the graph of a batch;
    the statistics with the copies that ranking one site needs, and the smaller model; two smaller models with the
    activations of all texts at one place. Operations are those of the passes, in the model's precision, and those of
    the statistics, in float64.

    Args:
        model: such as from `empty_model`, on the meta device; nothing but its shapes is used.
        work: the texts.
        kinds: of site to cut; None means all.
        device: where matrix products are timed; None leaves the seconds out.

    Raises:
        InputError: the model is not supported, the width is among the kinds, or the memory is not enough for one site.

    Example:
        >>> forecast(empty_model("my-classifier"), Workload(samples=1024, length=64)).peak
        1196789760
    """
    sites = find_sites(model, kinds)
    stream = next((site.kind for site in sites if site.streams), None)
    if stream is not None:
        raise InputError(
            f"the site {stream} was asked for, which a forecast does not know yet; leave it out of --sites"
        )
    shapes = {site.name: _shape(model, site) for site in sites}
    parts = groups(model, sites, work.memory)
    taken = {name: shape.bytes for name, shape in shapes.items()}
    statistics = max(sum(taken[site.name] for site in part) for part in parts)
    batches = work.samples / min(work.samples, work.batch_size)
    pass_ = _Pass.of(model, sites, work)
    forward = pass_.flops * batches
    tokens = work.samples * work.length
    every = shapes.values()
    widest = max(shape.inputs for shape in every)
    held = statistics if len(parts) == 1 else max(taken.values())
    copies = copies_wanted(tokens, widest) if pass_.once and count_rows(model) else 0
    repaired = replace(work, samples=work.samples * (1 + copies))
    stages = {
        "collect": Stage(
            statistics + pass_.bytes(list(every), work),
            forward * len(parts) * (1 + pass_.directions),
            tokens * sum(2 * s.inputs**2 + 2 * pass_.directions * s.outputs**2 for s in every),
        ),
        "rank": Stage(
            held + count_bytes(model) + EIGHT * MATRICES * widest**2,
            0.0,
            sum(SLOWNESS * 4 * s.inputs**3 + 2 * s.inputs**2 * s.outputs for s in every),
        ),
        "repair": Stage(
            _small(model, shapes.values(), work.keep) * 2 + _at_one_place(model, every, repaired),
            forward * ((1 + copies) * (1 + work.keep) + copies * (1 + pass_.directions))
            + sum(_steps(s, tokens * (1 + copies), work.keep) for s in every),
            sum(_regression(s, tokens * (1 + copies), work.keep) for s in every),
        ),
    }
    stages = {name: replace(stage, bytes=round(SLACK * stage.bytes)) for name, stage in stages.items()}
    if device is not None:
        stages = {name: _timed(stage, SLOWER[name], model, widest, work, device) for name, stage in stages.items()}
    return Forecast(count_parameters(model), count_bytes(model), forward, len(parts), taken, stages)


def _shape(model: nn.Module, site: Site) -> _Shape:
    outputs, inputs = linear(model, site.reader).weight.shape
    producers = tuple(tuple(linear(model, each.module).weight.shape) for each in site.refit)
    size = site_bytes(outputs, inputs, site.units)
    return _Shape(outputs, inputs, size, producers, site.kind == "ffn")  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Pass:
    """A pass over one batch: its FLOPs, what it keeps to be differentiated, its answers, and how often that is done."""

    flops: int
    kept: int
    answers: int
    directions: int
    itemsize: int
    once: bool  # one answer for an input

    @classmethod
    def of(cls, model: PreTrainedModel, sites: Sequence[Site], work: Workload) -> _Pass:
        model = hollow(model)
        length = example_length(model.config, work.length)
        batch = example_batch(model.config, min(work.samples, work.batch_size), length)
        stack = "decoder" if model.config.is_encoder_decoder else "layers"
        own = {id(parameter) for parameter in model.parameters()}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            whole = tensor if tensor._base is None else tensor._base
            if id(whole) not in own:
                kept[id(whole)] = whole
            return tensor

        for site in sites:
            model.get_submodule(site.reader).register_forward_hook(_asks_for_gradient)
        model.eval().requires_grad_(False)
        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            answer = read_answer(model, model(**batch), real_tokens(batch, stack))
        saved = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
        directions = direction_count(answer.values, answer.draws, answer.law)
        size = answer.values.element_size()
        once = answer.values.ndim == 2
        return cls(count_flops(model, batch), saved, answer.values.numel(), directions, size, once)

    def bytes(self, shapes: Sequence[_Shape], work: Workload) -> int:
        """The graph, what is caught at the readers, the answers several times over, and one site in float64."""
        caught = self.itemsize * sum(s.inputs + 2 * s.outputs for s in shapes)
        exact = EIGHT * max(max(2 * s.outputs, 8 * s.inputs) for s in shapes)
        return self.kept + work.tokens * (caught + exact) + self.answers * (4 * self.itemsize + 3 * EIGHT)


def _asks_for_gradient(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output if output.requires_grad else output.requires_grad_()


def _small(model: nn.Module, shapes: Collection[_Shape], keep: float) -> int:
    """Bytes of the weights that stay."""
    size = next(model.parameters()).element_size()
    cut = sum(s.outputs * s.inputs + sum(rows * columns for rows, columns in s.producers) for s in shapes)
    return count_bytes(model) - round((1 - keep) * cut * size)


def _at_one_place(model: nn.Module, shapes: Collection[_Shape], work: Workload) -> int:
    """Bytes of what the repair holds: activations of all texts in both models where a layer is re-fitted, and sums."""
    size, keep, tokens = next(model.parameters()).element_size(), work.keep, work.samples * work.length

    def activations(s: _Shape) -> float:
        stream = s.outputs
        reading = s.inputs * (1 + keep) + 2 * 3 * stream + 3 * stream
        # a layer holds what its other producers have written: queries and keys while it waits for values
        held = (1 + keep) * sum(rows for rows, _ in s.producers)
        writing = [2 * columns + held + 2 * stream + 3 * keep * rows for rows, columns in s.producers]
        if s.refits_neurons(tokens):  # what is read twice, targets, slopes, and the neurons before and after
            reading += 2 * s.producers[0][1] + stream + (s.parts + 2) * keep * s.inputs
        return max([reading, *writing])

    def sums(s: _Shape) -> float:
        sizes = [(keep * s.inputs, s.outputs), *((columns, keep * rows) for rows, columns in s.producers)]
        return max(EIGHT * (3 * FOLDS * n**2 + (FOLDS + 3) * n * o + 2 * FOLDS * n * MIXTURES) for n, o in sizes)

    return round(tokens * size * max(map(activations, shapes)) + max(map(sums, shapes)))


def _regression(s: _Shape, tokens: int, keep: float) -> float:
    """Operations of the regressions at a site: products, and a factorisation for each fold and strength."""
    again = [(keep * s.inputs, s.outputs)] * (1 + STEPS if s.refits_neurons(tokens) else 0)
    sizes = [(keep * s.inputs, s.outputs), *again, *((columns, keep * rows) for rows, columns in s.producers)]
    factors = FOLDS * len(GRID) + 1
    return sum(2 * tokens * n * (n + o) + factors * (n**3 / 3 + 4 * n**2 * min(o, MIXTURES)) for n, o in sizes)


def _steps(s: _Shape, tokens: int, keep: float) -> float:
    """Operations of the Gauss-Newton steps in what writes the neurons of a site, the first on three folds of four."""
    if not s.refits_neurons(tokens):
        return 0.0
    neurons, columns = keep * s.inputs, s.producers[0][1]
    product = 2 * s.parts * columns * neurons + neurons * min(neurons, 2 * s.outputs)
    begin = 2 * s.parts * columns * neurons + 2 * neurons * s.outputs + columns**2
    stride = tokens // (PER_INPUT * columns)
    return 2 * tokens * (begin + product * ITERATIONS / stride) * (STEPS + 1 - 1 / FOLDS)


def _timed(stage: Stage, slower: float, model: nn.Module, width: int, work: Workload, device: torch.device) -> Stage:
    dtype = next(model.parameters()).dtype
    own, exact = (product_rate(kind, work.tokens, width, device) for kind in (dtype, torch.float64))
    return replace(stage, seconds=slower * (stage.flops / own + stage.exact / exact))
