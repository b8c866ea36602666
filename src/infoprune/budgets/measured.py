"""Measured: correct the predicted losses of an embedding model by measuring the cut of each site alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from infoprune.budgets.budget import Keep
from infoprune.plan import HIDDEN_SIZE_PER_LAYER, Plan
from infoprune.processes import add_up
from infoprune.ranking.rank import Ranking, Rankings
from infoprune.statistics.answer import embeds
from infoprune.statistics.calibration import Batch, Progress
from infoprune.statistics.statistics import Statistics
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import evaluate

TRIED = Keep(0.5)
"""Share of a site that is kept where its loss is measured."""

BATCHES = 4
"""Most calibration batches to measure on, evenly spread."""

PASSES = 4
"""Most passes over all inputs that the measurements of all sites may cost together; one batch is always measured."""


def batches_to_measure(batches: Sequence[Batch], sites: int) -> Sequence[Batch]:
    """Return some batches, evenly spread: fewer where sites are many, so that the time is linear in their number."""
    count = max(1, min(BATCHES, PASSES * len(batches) // sites))
    return batches[:: -(-len(batches) // count)]


def measured(
    rankings: Rankings,
    model: PreTrainedModel,
    statistics: Statistics,
    batches: Sequence[Batch],
    *,
    progress: Progress | None = None,
) -> Rankings:
    """Return rankings with each site's losses scaled to a measured loss, where the model outputs an embedding.

    The predicted losses treat the errors of an input's tokens as independent, so that they average out in a mean over
    tokens. In fact they are correlated, the more the nearer the layer is to the mean: in the last layer of a sentence
    encoder a cut loses several times the prediction, and a budget would remove nearly all of that layer. So every site
    is cut to a half by itself, without a repair, and all its losses are multiplied by

        measured / predicted,  measured = 1/2 mean |e' - e|^2 over inputs

    for embeddings e before and e' after the cut. The orders do not change. Models with other outputs, losses that are
    not nats, and the losses of hidden sizes per layer are returned unchanged.

    Args:
        rankings: Rankings of the model's sites.
        model: The model to cut.
        statistics: Statistics of the model, by which the cuts are compensated.
        batches: Calibration inputs of this process; some of them are used.
        progress: Called with (sites done, sites in all).
    """
    if not rankings.nats or not embeds(model):
        return rankings
    some = batches_to_measure(batches, len(rankings.sites))
    before = evaluate(model, some).logits.double()

    def scaled(name: str, ranking: Ranking) -> Ranking:
        site, kept = ranking.site, TRIED.count(ranking.site)
        predicted = float(ranking.lost[kept])
        if site.structure == HIDDEN_SIZE_PER_LAYER or predicted <= 0:
            return ranking
        units = tuple(sorted(ranking.order[site.units - kept :].tolist()))
        neurons = {} if ranking.neurons is None else {name: ranking.neurons_left(kept)}
        trial = Plan(
            rankings.model_type, {name: site.units}, {name: units}, rankings.criterion, rankings.seed, neurons=neurons
        )
        small = apply_plan(model, trial, statistics)
        gap = (evaluate(small, some).logits.double() - before).square().sum() / 2
        sums = torch.stack([gap, torch.tensor(len(before))])
        add_up(sums)
        return replace(ranking, losses=ranking.losses * float(sums[0] / sums[1]) / predicted)

    found: dict[str, Ranking] = {}
    for name, ranking in rankings.sites.items():
        found[name] = scaled(name, ranking)
        if progress is not None:
            progress(len(found), len(rankings.sites))
    return replace(rankings, sites=found)
