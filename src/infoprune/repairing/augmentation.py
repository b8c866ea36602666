"""Augmentation: where the inputs are few, the repair also reads augmented inputs, in which tokens are replaced."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from transformers import PreTrainedModel

from infoprune.measuring.measure import device_of
from infoprune.processes import total
from infoprune.statistics.answer import answer_of
from infoprune.statistics.calibration import Batch, Progress, key_of, model_inputs, real_tokens
from infoprune.statistics.collect import collect_importance
from infoprune.statistics.merge import merge_statistics
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.token_replacement import uniform_replacement
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.site import Site

SHARE = 0.3
"""Share of tokens that are replaced: chosen from few trials on one sample of validation texts, not an optimum."""

PER_INPUT = 16
"""Tokens per input of the reader with most inputs: beyond it, augmentations gain too little for their time."""

MOST = 3
"""Most augmentations of every input, unless the caller gives a number."""


def augmentations_for(dense: PreTrainedModel, batches: Sequence[Batch], sites: Collection[Site]) -> int:
    """Return the number of augmentations of every input for a repair: 16 tokens per input of a reader, but at most 3.

    It is 0 for images, and for models with an output at every token, which would be about the replaced token.

    Args:
        dense: Model that the repair fits to.
        batches: Tokenised inputs, without augmentations.
        sites: Sites that were cut; the reader with most inputs decides.
    """
    replacement = uniform_replacement(dense, batches, SHARE)
    if replacement is None or not _answers_once(dense, batches[0]):
        return 0
    (tokens,) = total(sum(int(real_tokens(batch).sum()) for batch in batches))
    inputs = max(site.units * site.size for site in sites)
    return augmentations_wanted(tokens, inputs)


def augmentations_wanted(tokens: int, inputs: int) -> int:
    """Return the number of augmentations for so many tokens and a reader with so many inputs."""
    return min(MOST, -(-PER_INPUT * inputs // tokens) - 1)


def with_augmentations(
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    augmentations: int | None = None,
    *,
    sites: Collection[Site],
    seed: int = 0,
    memory: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Batch], Statistics]:
    """Return the inputs followed by augmented inputs, and the token importance of all, for `repair`.

    A few texts contain few different tokens, and few of their combinations: a quarter of the tokens of new short
    reviews does not occur in 256 others. The dense model has an output for any tokens, so three tenths of the tokens of
    an augmented input are replaced by tokens that are sampled uniformly from the model's table.

    Args:
        dense: Model that the repair fits to.
        batches: Tokenised inputs.
        statistics: Statistics of the dense model on these batches.
        augmentations: Number of augmentations of every input; None means `augmentations_for`.
        sites: Sites whose token importance is collected: those of the statistics.
        seed: Seed of the replacements, which otherwise depend on the batch alone.
        memory: Bytes that the graph may take, see `collect`.
        progress: Called with (augmented batches done, augmented batches in all).

    Returns:
        The batches, then all of them augmented once, twice and so on; and statistics of all these without moments. With
        0 augmentations, the batches and the statistics as they are.

    Examples:
        >>> augmented, importance = with_augmentations(dense, batches, statistics, sites=find_sites(dense))
        >>> repaired = repair(small, dense, augmented, statistics=importance, own=len(batches))
    """
    augmentations = augmentations_for(dense, batches, sites) if augmentations is None else augmentations
    replacement = uniform_replacement(dense, batches, SHARE) if augmentations > 0 else None
    if replacement is None:
        return list(batches), statistics
    keys = [key_of(batch) for batch in batches]
    sampled = [
        replacement.of(batch, key, seed, number)
        for number in range(augmentations)
        for batch, key in zip(batches, keys, strict=True)
    ]
    importance = collect_importance(dense, sampled, sites=sites, seed=seed, memory=memory, progress=progress)
    return [*batches, *sampled], merge_statistics(statistics.among(batches).for_repair(), importance)


def _answers_once(model: PreTrainedModel, batch: Batch) -> bool:
    """Return whether the model has one output per input: not one per token, nor a start and an end."""
    first = {name: each[:1] for name, each in model_inputs(batch, device_of(model)).items()}
    with evaluation_mode(model, freeze=True), torch.no_grad():
        return answer_of(model, model(**first), real_tokens(first)).values.ndim == 2
