"""Forecast: the memory, operations and time of a prune, from a model without weights."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.forecasting.batch_pass import BatchPass
from infoprune.forecasting.repair_cost import (
    FLOAT32,
    SLACK,
    neuron_operations,
    pruned_bytes,
    regression_operations,
    repair_bytes,
)
from infoprune.forecasting.site_shape import SiteShape
from infoprune.forecasting.stages import Forecast, Stage
from infoprune.forecasting.workload import Workload
from infoprune.measuring.free_memory import free_memory
from infoprune.measuring.measure import count_bytes, count_parameters
from infoprune.measuring.speed import product_rate
from infoprune.repairing.augmentation import augmentations_wanted
from infoprune.statistics.on_disk import EIGHT
from infoprune.structure.embeddings import count_rows
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.plain import on_transformers_model
from infoprune.structure.sites import find_sites

MATRICES = 6
"""Matrices of a site's size that ranking it holds beside the statistics."""
COMPENSATION = 4
"""Matrices of a site's size that compensating it holds beside the statistics and the smaller model."""
SLOWNESS = 2
"""Factor of an elimination's time per operation over that of matrix products, since it works on vectors."""
SLOWER = {"collect": 1.5, "rank": 1.0, "repair": 2.2}
"""Factor of a stage's time over that of its products at full speed, for small and element-wise operations: as measured
by benchmarks/memory.py, between MiniLM and SmolLM2. The Gauss-Newton steps of a repair are at full speed."""


@in_ordinary_mode
@on_transformers_model
def forecast(
    model: PreTrainedModel,
    work: Workload,
    *,
    structures: Collection[str] | None = None,
    device: torch.device | None = None,
) -> Forecast:
    """Forecast the memory, operations and time of `prune`; no weight is read and no text is processed.

    The memory of a stage is that of its largest part. Collecting holds the statistics of a group of sites and the graph
    of a batch; ranking holds the statistics, the matrices for ranking one site, and the smaller model; repairing holds
    the smaller model and the activations of all texts at one re-fit. Operations are those of the passes, in the
    model's precision, and those of the statistics, in float64 or float32.

    Args:
        model: A model whose shapes alone are used, such as one from `empty_model` on the meta device.
        work: The texts.
        structures: Types of structure to cut; None means every type in the layers.
        device: Device on which matrix products are timed; None leaves the seconds out.

    Returns:
        The memory, operations and, where a device is given, seconds of every stage.

    Raises:
        InputError: The model is not supported, `structures` has a hidden size, or the memory is not enough for one
            site.

    Examples:
        >>> forecast(model, Workload(samples=1024, max_length=64)).peak > 0
        True
    """
    sites = find_sites(model, structures)
    if any(site.routing is not None for site in find_sites(model)):
        raise InputError(
            f"a model of type {model.config.model_type!r} has experts, which a forecast does not support yet, expected "
            "one without; prune without a forecast, and leave `memory` out"
        )
    stream = next((site.structure for site in sites if site.streams), None)
    if stream is not None:
        raise InputError(f"`structures` has {stream}, which a forecast does not support yet; leave it out")
    shapes = {site.name: SiteShape.of(model, site) for site in sites}
    taken = {name: shape.bytes for name, shape in shapes.items()}
    pass_ = BatchPass.of(model, sites, work)
    forward = pass_.flops * work.samples / pass_.inputs
    tokens = work.samples * work.max_length
    every = shapes.values()
    widest = max(shape.inputs for shape in every)
    graph, beside = pass_.graph(list(every)), pass_.beside(list(every))
    layers = [
        sum(taken[site.name] for site in sites if (site.stack, site.layer) == layer)
        for layer in {(site.stack, site.layer) for site in sites}
    ]
    least = max(layers) + graph // len(layers) + beside
    whole = sum(layers) + graph + beside
    small, matrix = pruned_bytes(model, every, work.keep), EIGHT * widest**2
    # units are ranked first, then the smaller model is made
    beside_statistics = max(MATRICES * matrix, small + COMPENSATION * matrix)
    from_disk = max(taken.values()) + beside_statistics
    limit = free_memory(torch.device("cpu")) // 2
    if work.memory is not None:
        limit = work.memory - count_bytes(model)
        enough = math.ceil((count_bytes(model) + max(least, from_disk)) / 2**20)
        if max(least, from_disk) > limit:
            raise InputError(
                f"`memory` is {work.memory:,} bytes, and collecting and ranking a layer takes {enough} MiB with the "
                "model; allow at least that"
            )
    apart = whole > limit or (work.memory is not None and sum(layers) + beside_statistics > limit)
    passes = 2 if apart else 1
    held = from_disk if apart else sum(layers) + beside_statistics
    augmentations = augmentations_wanted(tokens, widest) if pass_.once and count_rows(model) else 0
    stages = {
        "collect": Stage(
            round(SLACK * (min(whole, max(limit, least)) if apart else whole)),
            forward * (passes + pass_.directions),
            FLOAT32 * tokens * sum(2 * s.inputs**2 + pass_.directions * s.outputs**2 for s in every),
        ),
        "rank": Stage(
            round(SLACK * held),
            0.0,
            sum(SLOWNESS * 4 * s.inputs**3 + 2 * s.inputs**2 * s.outputs for s in every),
        ),
        "repair": Stage(
            repair_bytes(model, every, work, augmentations),
            forward * ((1 + augmentations) * (1 + work.keep) + augmentations * (1 + pass_.directions))
            + sum(neuron_operations(s, tokens * (1 + augmentations), work.keep) for s in every),
            sum(regression_operations(s, tokens * (1 + augmentations), work.keep) for s in every),
        ),
    }
    if device is not None:
        steps = {"repair": sum(neuron_operations(s, tokens * (1 + augmentations), work.keep) for s in every)}
        stages = {
            name: _timed(stage, SLOWER[name], steps.get(name, 0.0), model, widest, work, device)
            for name, stage in stages.items()
        }
    return Forecast(
        count_parameters(model), count_bytes(model), forward, passes, taken, round(SLACK * from_disk), stages
    )


def _timed(
    stage: Stage, slower: float, fast: float, model: nn.Module, inputs: int, work: Workload, device: torch.device
) -> Stage:
    """Return the stage with its seconds; `fast` of its operations in the model's precision are not slower."""
    dtype = next(model.parameters()).dtype
    own, exact = (product_rate(each_dtype, work.tokens, inputs, device) for each_dtype in (dtype, torch.float64))
    return replace(stage, seconds=slower * ((stage.flops - fast) / own + stage.exact / exact) + fast / own)
