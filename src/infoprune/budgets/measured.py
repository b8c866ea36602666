"""Measured: the losses of an embedding, set right by what the cut of each site alone is seen to cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from infoprune.budgets.budget import Keep
from infoprune.plan import LAYER_WIDTH, Plan
from infoprune.processes import add_up
from infoprune.ranking.rank import Ranking, Rankings
from infoprune.statistics.answer import embeds
from infoprune.statistics.calibration import Batch, Progress
from infoprune.statistics.statistics import Statistics
from infoprune.surgery import prune
from infoprune.tasks.evaluate import evaluate

TRIED = Keep(0.5)
"""How much of a site is kept where its loss is measured."""

BATCHES = 4
"""Of the calibration inputs, evenly spread, to measure on."""


def measured(
    rankings: Rankings,
    model: PreTrainedModel,
    statistics: Statistics,
    batches: Sequence[Batch],
    *,
    progress: Progress | None = None,
) -> Rankings:
    """Rankings whose losses are as large as those that are measured, where a model answers with an embedding.

    The losses take the errors of an input's tokens to be independent, so that they average out in a mean over tokens.
    But an input's tokens err alike, the more so the nearer to the mean: in the last layer of a sentence encoder the cut
    costs several times what its loss says, and a budget would take nearly all of it. So every site is cut to a half by
    itself, without a repair, and all its losses are multiplied by

        measured / predicted,  measured = 1/2 mean |e' - e|^2 over inputs

    for embeddings e before and e' after. The orders stay. Other answers, and losses that are not nats, stay as they
    are, as do the widths of single layers.

    Args:
        rankings: of the model's sites.
        model: that is cut.
        statistics: of the model, by which the cuts are compensated.
        batches: of this process; some of them are used.
        progress: called with (sites done, sites in all).
    """
    if not rankings.nats or not embeds(model):
        return rankings
    some = batches[:: -(-len(batches) // BATCHES)]
    before = evaluate(model, some).logits.double()

    def scaled(name: str, ranking: Ranking) -> Ranking:
        site, kept = ranking.site, TRIED.count(ranking.site)
        predicted = float(ranking.lost[kept])
        if site.kind == LAYER_WIDTH or predicted <= 0:
            return ranking
        units = tuple(sorted(ranking.order[site.units - kept :].tolist()))
        trial = Plan(rankings.model_type, {name: site.units}, {name: units}, rankings.criterion, rankings.seed)
        small = prune(model, trial, statistics)
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
