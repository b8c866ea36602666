"""Repair cost: the memory and the operations of a repair."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import nn

from infoprune.forecasting.site_shape import SiteShape
from infoprune.forecasting.workload import Workload
from infoprune.measuring.measure import count_bytes
from infoprune.repairing.gauss_newton import ITERATIONS
from infoprune.repairing.neurons import CURVATURE, STEPS, TRIAL
from infoprune.repairing.ridge import FOLDS, MIXTURES, PARTS, ROWS
from infoprune.statistics.on_disk import EIGHT

FLOAT32 = 0.5
"""Time of an operation in float32 over that of one in float64. Of a product with itself only a triangle is formed."""
SLACK = 1.15
"""Factor for memory that allocators round up and leave unused, as measured by benchmarks/memory.py."""
HOLES = 1.3
"""Bytes that the heap takes for one byte of a paused pass: between what stays lies what has been freed, as measured on
3 layers of 896 coordinates (64 texts of 256 tokens)."""
SOLVING = 2
"""Matrices of a regression's size beside its sums: the covariance, and its factor."""
TRIED = 5
"""Strengths of the ridge that are tried, on average."""


def pruned_bytes(model: nn.Module, shapes: Collection[SiteShape], keep: float) -> int:
    """Return the bytes of the weights that stay."""
    size = next(model.parameters()).element_size()
    cut = sum(s.weights for s in shapes)
    return count_bytes(model) - round((1 - keep) * cut * size)


def repair_bytes(
    model: nn.Module,
    shapes: Collection[SiteShape],
    work: Workload,
    augmentations: int = 0,
    *,
    most: float | None = None,
) -> int:
    """Return the bytes that a repair takes beside the dense model.

    Args:
        model: The dense model.
        shapes: Sizes of the sites that are cut.
        work: The texts, without augmentations.
        augmentations: Number of augmentations of every text.
        most: Largest share of the units of a site that stays; None where it is the same for all.
    """
    texts = work.samples * (1 + augmentations)
    largest = replace(work, samples=texts, keep=work.keep if most is None else most)
    return pruned_bytes(model, shapes, work.keep) + refit_bytes(model, shapes, largest)


def refit_bytes(model: nn.Module, shapes: Collection[SiteShape], work: Workload) -> int:
    """Return the bytes of the largest re-fit: what paused passes of all texts hold in both models, and the sums."""
    size, keep, tokens = next(model.parameters()).element_size(), work.keep, work.samples * work.max_length

    def activations(s: SiteShape) -> float:
        stream, written = s.outputs, sum(rows for rows, _ in s.producers)
        # pruned: what the layer reads, the residual and the normed one; dense: what it gives, and the next two of these
        reading = keep * s.inputs + 3 * stream + 3 * stream
        if not s.neurons:  # an attention keeps its queries, keys and values until it has ended
            reading += keep * written
        # both: what the layer reads, the residual, and the inputs; targets are those of one batch
        writing: float = max((2 * 2 * stream + 2 * columns for _, columns in s.producers), default=0)
        # queries are there, dense and pruned, while keys and values wait for what another stack gives
        writing += (1 + keep) * s.apart
        if s.refits_neurons(tokens):  # the inputs twice, targets twice, slopes, and the neurons before and after
            reading += 2 * s.producers[0][1] + 2 * stream + (s.parts + 2) * keep * s.inputs
        return max(reading, writing)

    # samples wait for others of their part; those of one part are joined, widened and centred
    rows = min(PARTS * ROWS, tokens) + 3 * min(ROWS, tokens)

    def sums(s: SiteShape) -> float:
        sizes = [(keep * s.inputs, s.outputs), *((columns, keep * rows) for rows, columns in s.producers)]
        held = PARTS * (2 if s.refits_neurons(tokens) else 1)  # with those after a trial step
        return max(
            EIGHT * ((held + SOLVING) * n**2 + (held + 3) * n * o + 2 * n * MIXTURES) + size * rows * (n + o)
            for n, o in sizes
        )

    return round(HOLES * tokens * size * max(map(activations, shapes)) + max(map(sums, shapes)))


def regression_operations(s: SiteShape, tokens: int, keep: float) -> float:
    """Return the operations of a site's regressions: products, and a factorisation for each ridge."""
    again = [(keep * s.inputs, s.outputs)] * (1 + STEPS if s.refits_neurons(tokens) else 0)
    sizes = [(keep * s.inputs, s.outputs), *again, *((columns, keep * rows) for rows, columns in s.producers)]
    factors = TRIED + 1
    return sum(
        FLOAT32 * tokens * n * (n + 2 * o) + factors * (n**3 / 3 + 4 * n**2 * min(o, MIXTURES)) for n, o in sizes
    )


def neuron_operations(s: SiteShape, tokens: int, keep: float) -> float:
    """Return the operations of the Gauss-Newton steps for a site's neurons, the first step on three of four texts."""
    if not s.refits_neurons(tokens):
        return 0.0
    neurons, columns = keep * s.inputs, s.producers[0][1]
    product = 2 * s.parts * columns * neurons + neurons * min(neurons, 2 * s.outputs)
    begin = 2 * s.parts * columns * neurons + 2 * neurons * s.outputs + columns**2
    stride = max(1, tokens // (CURVATURE * columns))
    trial = 1 - 1 / FOLDS
    steps = begin * (STEPS + trial) + product / stride * (STEPS * ITERATIONS + trial * TRIAL)
    return 2 * tokens * steps
