"""Collect: one pass over the calibration inputs gives the statistics of every site."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import torch
from transformers import PreTrainedModel

from infoprune.files.kept_tensors import KeptTensors
from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import (
    Batch,
    Progress,
    check_batches,
    check_finite_weights,
    check_targets,
)
from infoprune.statistics.extras import Extra, Extras
from infoprune.statistics.gradients import Gradients
from infoprune.statistics.micro_batches import micro_batches
from infoprune.statistics.on_disk import on_disk
from infoprune.statistics.one_pass import OnePass
from infoprune.statistics.segments import keep_states, segments
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.plain import on_plain_model
from infoprune.structure.replay import Replay
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites, layer_paths

DIRECTIONS = 4
"""Backward passes that the room on disk is checked for where their number depends on the model's answer."""


@in_ordinary_mode
@on_plain_model
def collect(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Iterable[Site] | None = None,
    smoothing: float = 3.0,
    shrinkage: float = 1e-2,
    fisher_samples: int | None = None,
    extras: Collection[Extra] = (),
    seed: int = 0,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Collect moments, token importance and Fisher information of every site.

    It takes one forward pass and a few backward passes over the inputs. Where graph and statistics do not fit into the
    memory, a pass first keeps on disk what enters each run of layers, and the runs are collected one after the other,
    from the top down: one more forward pass, whatever the memory. In a process group every process passes its own
    batches, and all get the statistics of all.

    Args:
        model: Model with any head that `answer_of` can read, or with none; it is left as it was.
        batches: Tokenised inputs as `model(**batch)` takes them; labels are ignored. Padding, where the attention mask
            is 0, does not count.
        sites: Sites to collect; None means all of them.
        smoothing: Weight of a token without gradient, as a fraction of the mean; inf weights all tokens alike.
        shrinkage: Ridge of the covariances, as a fraction of their mean diagonal.
        fisher_samples: Most directions of a distribution that are differentiated; each costs a backward pass. With one
            distribution of k classes per input, k - 1 are exact. None means 4, or 1 where every token has a
            distribution, and for embeddings.
        extras: What some criteria need in addition, see `extras_of`: "masks" (a number of four bytes for every input,
            unit and direction) and "activation_norm".
        seed: Seed of those samples.
        memory: Bytes that the graph and the statistics may take at once. Where they take more, the statistics are kept
            on disk, in the folder for temporary files, and a site is read when it is accessed. None takes up to half of
            the memory that is free now.
        progress: Called with (batches done, batches in all).

    Returns:
        The statistics of the chosen sites.

    Raises:
        InputError: A weight or an activation is not finite, there is nothing to collect from, or the memory or the disk
            is not enough for one layer.

    Examples:
        >>> statistics = collect(model, batches)
        >>> statistics.sites["layers.0.ffn"].covariance.shape
        torch.Size([64, 64])
    """
    batches = accept(model, batches)
    chosen = _measured(model, batches, sites)

    def empty(site: Site) -> SiteStatistics:
        return SiteStatistics.empty(model, site, smoothing, shrinkage)

    return _collected(model, batches, chosen, empty, Extras(extras), fisher_samples, seed, memory, progress)


@in_ordinary_mode
def collect_importance(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Iterable[Site] | None = None,
    seed: int = 0,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Collect only the token importance, which is what a repair needs: a pass without moments and their memory.

    Args:
        model: As for `collect`.
        batches: As for `collect`.
        sites: As for `collect`.
        seed: Seed of the samples of the Fisher information.
        memory: As for `collect`.
        progress: Called with (batches done, batches in all).

    Raises:
        InputError: As from `collect`.
    """
    batches = accept(model, batches)
    chosen = _measured(model, batches, sites)
    return _collected(model, batches, chosen, None, Extras(()), None, seed, memory, progress)


def _measured(model: PreTrainedModel, batches: Sequence[Batch], sites: Iterable[Site] | None) -> tuple[Site, ...]:
    """Check model and inputs, and return the sites that statistics are collected of.

    For the residual stream these are one per point where it is read.
    """
    check_batches(batches)
    check_targets(model, batches)
    check_finite_weights(model)
    chosen = find_sites(model) if sites is None else sites
    return tuple(each for site in chosen for each in site.measured)


def _collected(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    sites: Sequence[Site],
    empty: Callable[[Site], SiteStatistics] | None,
    extras: Extras,
    fisher_samples: int | None,
    seed: int,
    memory: int | None,
    progress: Progress | None,
) -> Statistics:
    """Collect segment by segment, from the top down; without `empty` only the token importance."""
    parts = micro_batches(model, batches)
    whole: Statistics | None = None
    with KeptTensors() as kept:
        replay, gradients = Replay(model, layer_paths(model), kept), Gradients(kept)
        with replay.installed():
            divided = segments(model, sites, parts, memory, replay, importance_only=empty is None)
            passes = len(divided) + (len(divided) > 1)
            if len(divided) > 1:
                keep_states(
                    model,
                    parts,
                    divided,
                    replay,
                    kept,
                    _part_of(progress, 0, passes),
                    directions=fisher_samples or DIRECTIONS,
                    importance_only=empty is None,
                )
            tokens = None
            for number, segment in enumerate(reversed(divided), start=passes - len(divided)):
                filled = {} if empty is None else {site.name: empty(site) for site in segment.sites}
                one = OnePass(model, segment, filled, extras, fisher_samples, seed, replay, gradients, tokens)
                found = one.over(parts, _part_of(progress, number, passes))
                del one
                tokens, extras = found.tokens if segment.sites else tokens, extras.anew()
                if len(divided) > 1 and filled:
                    found = on_disk(found, torch.promote_types(model.dtype, torch.float32))
                whole = found if whole is None else whole.joined(found)
                del filled, found  # before the next segment fills others
    if whole is None:
        raise ValueError("there are no segments, expected at least one")
    return whole


def _part_of(progress: Progress | None, index: int, parts: int) -> Progress | None:
    """Return the progress of one of several passes as part of the progress of all."""
    return None if progress is None else lambda done, of: progress(index * of + done, parts * of)
