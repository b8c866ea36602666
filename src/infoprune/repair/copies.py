"""Copies: where there are few inputs, a repair reads copies of them too, in which some tokens were replaced."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from transformers import PreTrainedModel

from infoprune.measuring.measure import device_of
from infoprune.processes import total
from infoprune.statistics.answer import answer_of
from infoprune.statistics.calibration import Batch, Progress, key_of, model_inputs, real_tokens
from infoprune.statistics.collect import collect_worth
from infoprune.statistics.merge import merge_statistics
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.taps import frozen
from infoprune.statistics.vary import anything
from infoprune.structure.site import Site

SHARE = 0.3
"""Of a copy's tokens that are replaced: a choice from few trials on one draw of validation texts, not an optimum."""

PER_INPUT = 16
"""Tokens for every input of the widest reader: with so many, copies are not worth their time."""

MOST = 3
"""Copies of every input, unless more are asked for."""


def copies_for(dense: PreTrainedModel, batches: Sequence[Batch], sites: Collection[Site]) -> int:
    """How many copies of every input a repair wants: as many as bring the tokens to 16 for each input of a reader.

    None where an answer stands at every token, since it would be about other tokens, and none for pictures.

    Args:
        dense: the model whose answers count.
        batches: tokenised inputs, without copies.
        sites: that were cut; the reader with most inputs decides.
    """
    kind = anything(dense, batches, SHARE)
    if kind is None or not _answers_once(dense, batches[0]):
        return 0
    (tokens,) = total(sum(int(real_tokens(batch).sum()) for batch in batches))
    inputs = max(site.units * site.size for site in sites)
    return copies_wanted(tokens, inputs)


def copies_wanted(tokens: int, inputs: int) -> int:
    """How many copies of so many tokens are worth their time where a reader has so many inputs."""
    return min(MOST, -(-PER_INPUT * inputs // tokens) - 1)


def with_copies(
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    copies: int | None = None,
    *,
    sites: Collection[Site],
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[Batch], Statistics]:
    """The inputs and then copies of them, in turn, and the worth of the tokens of all, for `repair`.

    A regression on few texts has seen few words, and few of their combinations: of the tokens of new short reviews a
    quarter is none of those of 256 others. The dense model answers to any tokens, so three tenths of a copy's are
    replaced by any that its table has.

    Args:
        dense: the model that the repair aims at.
        batches: tokenised inputs.
        statistics: of the dense model on these batches; their moments are left out.
        copies: of every input; None asks `copies_for`.
        sites: whose worth of tokens is collected: those of the statistics.
        seed: of what is drawn; beyond that it depends on the batch alone.
        progress: called with (copied batches done, copied batches in all).

    Example:
        >>> copied, statistics = with_copies(dense, batches, statistics, sites=find_sites(dense))
        >>> repaired = repair(small, dense, copied, statistics=statistics, own=len(batches))
    """
    copies = copies_for(dense, batches, sites) if copies is None else copies
    kind = anything(dense, batches, SHARE) if copies > 0 else None
    if kind is None:
        return list(batches), statistics
    keys = [key_of(batch) for batch in batches]
    drawn = [
        kind.of(batch, key, seed, copy) for copy in range(copies) for batch, key in zip(batches, keys, strict=True)
    ]
    worth = collect_worth(dense, drawn, sites=sites, seed=seed, progress=progress)
    return [*batches, *drawn], merge_statistics(statistics.among(batches).worth_alone(), worth)


def _answers_once(model: PreTrainedModel, batch: Batch) -> bool:
    """Whether there is one answer for an input: not one for every token, nor for start and end."""
    first = {name: each[:1] for name, each in model_inputs(batch, device_of(model)).items()}
    with frozen(model), torch.no_grad():
        return answer_of(model, model(**first), real_tokens(first)).values.ndim == 2
