"""Collect: one pass over the calibration inputs gives the statistics of every site."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from transformers import PreTrainedModel

from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import (
    Batch,
    Progress,
    check_batches,
    check_finite_weights,
    check_targets,
)
from infoprune.statistics.extras import Extra, Extras
from infoprune.statistics.groups import groups, on_disk
from infoprune.statistics.one_pass import OnePass
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.plain import on_plain_model
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites


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

    It takes one forward pass and a few backward passes per batch. In a process group every process passes its own
    batches, and all get the statistics of all.

    Args:
        model: Model with any head that `answer_of` can read, or with none; it is left as it was.
        batches: Tokenised inputs as `model(**batch)` takes them; labels are ignored. Padding, where the attention mask
            is 0, does not count.
        sites: Sites to collect; None means all of them.
        smoothing: Weight of a token without gradient, as a fraction of the mean; inf weights all tokens alike.
        shrinkage: Ridge of the covariances, as a fraction of their mean diagonal.
        fisher_samples: Samples per distribution where it has more than 16 outputs or every token has one; each costs a
            backward pass. None means 4, or 1 where every token has a distribution.
        extras: What some criteria need in addition, see `extras_of`: "masks" (a number of four bytes for every input,
            unit and direction) and "activation_norm".
        seed: Seed of those samples.
        memory: Bytes that the statistics may take at once. Where all sites take more, they are collected in groups, one
            pass per group, and kept on disk; a site is then read when it is accessed. None keeps all in memory.
        progress: Called with (batches done, batches in all).

    Returns:
        The statistics of the chosen sites.

    Raises:
        InputError: A weight or an activation is not finite, there is nothing to collect from, or the memory is not
            enough for one site.

    Examples:
        >>> statistics = collect(model, batches)
        >>> statistics.sites["layers.0.ffn"].covariance.shape
        torch.Size([64, 64])
    """
    batches = accept(model, batches)
    check_batches(batches)
    check_targets(model, batches)
    check_finite_weights(model)
    chosen = _measured(model, sites)
    parts = groups(model, chosen, memory)
    whole: Statistics | None = None
    for index, part in enumerate(parts):
        step = None if progress is None else _part_of(progress, index, len(parts))
        empty = {site.name: SiteStatistics.empty(model, site, smoothing, shrinkage) for site in part}
        found = OnePass(model, part, empty, Extras(extras), fisher_samples, seed).over(batches, step)
        found = on_disk(found) if len(parts) > 1 else found
        whole = found if whole is None else found.joined(whole)
    if whole is None:
        raise ValueError("there are no groups, expected at least one")
    return whole


@in_ordinary_mode
def collect_importance(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Iterable[Site] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Statistics:
    """Collect only the token importance, which is what a repair needs: a pass without moments and their memory.

    Args:
        model: As for `collect`.
        batches: As for `collect`.
        sites: As for `collect`.
        seed: Seed of the samples of the Fisher information.
        progress: Called with (batches done, batches in all).

    Raises:
        InputError: As from `collect`.
    """
    batches = accept(model, batches)
    check_batches(batches)
    check_targets(model, batches)
    check_finite_weights(model)
    chosen = _measured(model, sites)
    return OnePass(model, chosen, {}, Extras(()), None, seed).over(batches, progress)


def _measured(model: PreTrainedModel, sites: Iterable[Site] | None) -> tuple[Site, ...]:
    """Return the sites that statistics are collected of: for the residual stream, one per point where it is read."""
    chosen = find_sites(model) if sites is None else sites
    return tuple(each for site in chosen for each in site.measured)


def _part_of(progress: Progress, index: int, parts: int) -> Progress:
    """Return the progress of one of several passes as part of the progress of all."""
    return lambda done, of: progress(index * of + done, parts * of)
