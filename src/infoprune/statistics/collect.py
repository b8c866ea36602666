"""Collect: one streaming pass over the calibration inputs gives the statistics of every site."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.processes import total
from infoprune.statistics.answer import Answer, answer_of, remedy
from infoprune.statistics.calibration import (
    Batch,
    Progress,
    check_batches,
    check_finite_weights,
    check_targets,
    key_of,
    model_inputs,
    real_tokens,
)
from infoprune.statistics.groups import groups, on_disk
from infoprune.statistics.masks import Extra, Extras
from infoprune.statistics.precision import exact
from infoprune.statistics.pull import pulled
from infoprune.statistics.sharing import share_keys, share_sums, share_worth
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.statistics.taps import Tap, frozen, tapped
from infoprune.statistics.temper import tempered
from infoprune.structure.linear import linear
from infoprune.structure.offload import present
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites


def collect(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Iterable[Site] | None = None,
    floor: float = 3.0,
    ridge: float = 1e-2,
    draws: int | None = None,
    extras: Collection[Extra] = (),
    seed: int = 0,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Moments and demand of every site, in one forward pass and a few backward passes per batch.

    In a process group every process passes its own batches, and all get the statistics of all.

    Args:
        model: with any head that `answer_of` can read, or with none; it is left as it was found.
        batches: tokenised inputs as `model(**batch)` takes them; labels are ignored. Padding, where the attention mask
            is 0, does not count.
        sites: which sites; None means all of them.
        floor: token weight of a token without gradient, a fraction of the mean; inf weighs all tokens alike.
        ridge: shrinkage of the covariances, a fraction of their mean diagonal.
        draws: samples per distribution where it has more than 16 outputs or stands at every token; each costs a
            backward pass. None means 4, or 1 where every token is a sample of its own.
        extras: what some criteria want beside, see `extras_of`: "masks" (for every input and unit a number of four
            bytes, times the directions) and "loudness".
        seed: of those samples.
        memory: bytes that the statistics may take at once. Where all sites take more, they are collected in groups, a
            pass for each, and kept on disk; what is asked for is read site by site. None keeps all in memory.
        progress: called with (batches done, batches in all).

    Raises:
        InputError: a weight or an activation is not finite, there is nothing to collect from, or the memory is not
            enough for one site.

    Example:
        >>> statistics = collect(model, batches)
        >>> statistics.sites["layers.0.ffn"].covariance.shape
        torch.Size([1536, 1536])
    """
    check_batches(batches)
    check_targets(model, batches)
    check_finite_weights(model)
    chosen = _measured(model, sites)
    parts = groups(model, chosen, memory)
    whole: Statistics | None = None
    for index, part in enumerate(parts):
        step = None if progress is None else _part_of(progress, index, len(parts))
        empty = {site.name: SiteStatistics.empty(model, site, floor, ridge) for site in part}
        found = _collect(model, batches, part, empty, Extras(extras), draws, seed, step)
        found = on_disk(found) if len(parts) > 1 else found
        whole = found if whole is None else found.joined(whole)
    if whole is None:
        raise ValueError("there are no groups, expected at least one")
    return whole


def collect_worth(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Iterable[Site] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Statistics:
    """The worth of every token alone, which is what a repair needs: a pass without moments and their memory.

    Args:
        model: as for `collect`.
        batches: likewise.
        sites: likewise.
        seed: of what is drawn.
        progress: called with (batches done, batches in all).

    Raises:
        InputError: as from `collect`.
    """
    check_batches(batches)
    check_targets(model, batches)
    check_finite_weights(model)
    chosen = _measured(model, sites)
    return _collect(model, batches, chosen, {}, Extras(()), None, seed, progress)


def _measured(model: PreTrainedModel, sites: Iterable[Site] | None) -> tuple[Site, ...]:
    """Where the statistics of sites are collected."""
    chosen = find_sites(model) if sites is None else sites
    return tuple(each for site in chosen for each in site.measured)


def _part_of(progress: Progress, index: int, parts: int) -> Progress:
    """Progress of one of several passes as that of all."""
    return lambda done, of: progress(index * of + done, parts * of)


def _collect(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    sites: Sequence[Site],
    gathered: Mapping[str, SiteStatistics],
    beside: Extras,
    draws: int | None,
    seed: int,
    progress: Progress | None,
) -> Statistics:
    """One pass for some of the sites: the worth of all tokens, and the sums of those sites that have statistics."""
    worth: dict[str, list[Tensor]] = {site.name: [] for site in sites}
    keys = [key_of(batch) for batch in batches]
    device = device_of(model)
    inputs, tokens = 0, 0
    with frozen(model), tapped(model, sites) as taps, torch.enable_grad():
        for index, batch in enumerate(batches):
            fed = model_inputs(batch, device)
            decodes = "decoder" if model.config.is_encoder_decoder else "layers"
            masks = {name: real_tokens(fed, name) for name in ("layers", decodes)}
            answer = answer_of(model, model(**fed), masks[decodes])
            # what is drawn depends on the batch alone: not on its place, on other batches, nor on who computes it
            generator = torch.Generator().manual_seed(seed ^ keys[index])
            squares = _pull(answer, draws or answer.draws, generator, taps, model, _read_here(sites), gathered, beside)
            del answer  # and with it the graph, before the next batch makes another
            seen = 0
            for site in sites:
                name, readers = site.name, taps[site.name]
                mask = masks[site.stack]
                worths = []
                for passed, square in zip(readers[0].passed, squares[name], strict=True):
                    real = _real(passed.x, mask.to(square.device))
                    if name in gathered:
                        beside.hear(gathered[name], passed.x, real, len(mask))
                        x = exact(passed.x)
                        texts = (len(mask), -1)
                        weight = tempered(x.reshape(*texts, x.shape[-1]), real.reshape(texts)).reshape(real.shape)[real]
                        gathered[name].tokens.update(x[real], weight)
                        gathered[name].worth.update(x[real], square[real] * weight)
                    worths.append((square * real).float().reshape(len(mask), -1))
                    seen = max(seen, int(real.sum())) if real.numel() == len(mask) else int(real.sum())  # one a text
                worth[name].append(torch.stack(worths).sum(0))
                for tap in readers:
                    tap.passed.clear()
            beside.end_batch()
            inputs, tokens = inputs + len(masks[decodes]), tokens + seen
            if progress is not None:
                progress(index + 1, len(batches))
    inputs, tokens = total(inputs, tokens)
    for statistics in gathered.values():
        share_sums(statistics)
        statistics.demand.div_(inputs)
        _check_finite(statistics, model.dtype)
    kept = share_worth(worth)
    levels = {name: sum(float(w.sum()) for w in each) / max(tokens, 1) for name, each in kept.items()}
    return Statistics(beside.added(gathered), model.config.model_type, inputs, tokens, kept, levels, share_keys(keys))


def _real(x: Float[Tensor, "... n"], mask: Bool[Tensor, "batch length"]) -> Bool[Tensor, ...]:
    """Which rows of an activation are no padding."""
    if x.ndim > mask.ndim:
        return mask.expand(x.shape[:-1])
    if len(x) == mask.numel():  # a family that joins all tokens of a batch into one axis
        return mask.flatten()
    return torch.ones_like(x[..., 0], dtype=torch.bool)


def _read_here(sites: Sequence[Site]) -> dict[str, tuple[str, ...]]:
    """By site name, paths of what takes gradients to the vectors of the residual stream that are read there."""
    return {site.name: site.readers for site in sites if site.streams}


def _pull(
    answer: Answer,
    draws: int,
    generator: torch.Generator,
    taps: Mapping[str, Sequence[Tap]],
    model: nn.Module,
    read: Mapping[str, Sequence[str]],
    into: Mapping[str, SiteStatistics],
    beside: Extras,
) -> dict[str, list[Float[Tensor, ...]]]:
    """Pulls every direction down to every site, adds to the demand, and returns |g|^2 of every token by site."""
    applied = [
        (name, index, passed)
        for name, each in taps.items()
        for index, passed in enumerate(zip(*(tap.passed for tap in each), strict=True))
    ]
    squares = {name: [torch.zeros_like(exact(p.y[..., 0])) for p in each[0].passed] for name, each in taps.items()}
    outputs = [each.y for _, _, passed in applied for each in passed]
    for number, gradients in enumerate(pulled(answer, draws, generator, outputs)):
        for name, index, passed in applied:
            arrived = [next(gradients).flatten(0, -2) for _ in passed]
            rows = _at_input(model, arrived, read[name]) if name in read else arrived[0]
            squares[name][index] += rows.square().sum(-1).reshape(squares[name][index].shape)
            if name in into:
                into[name].demand.addmm_(rows.T, rows)
                beside.feel(into[name], number, passed[0].x, rows, len(answer.values))
    return squares


def _at_input(model: nn.Module, arrived: Sequence[Float[Tensor, "t _"]], paths: Sequence[str]) -> Float[Tensor, "t n"]:
    """The gradient at what several modules read, through these alone: the sum of g W."""
    parts = []
    for gradient, path in zip(arrived, paths, strict=True):
        with present(model, path):
            parts.append(gradient @ exact(linear(model, path).weight).to(gradient.device))
    return torch.stack(parts).sum(0)


def _check_finite(statistics: SiteStatistics, dtype: torch.dtype) -> None:
    finite: Bool[Tensor, ""] = (
        torch.isfinite(statistics.tokens.triangle).all() & torch.isfinite(statistics.demand).all()
    )
    if not finite:
        raise InputError(
            f"activations at {statistics.site.reader} are not finite, expected finite numbers; "
            f"{remedy(dtype)}, and look at the inputs"
        )
