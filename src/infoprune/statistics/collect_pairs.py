"""Collect pairs: one forward pass pairs the units of every site with what lies above them, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.processes import process_count
from infoprune.statistics.accept import accept
from infoprune.statistics.answer import read_answer
from infoprune.statistics.calibration import Batch, Progress, model_inputs, real_tokens
from infoprune.statistics.moments import Moments
from infoprune.statistics.pairs import Pairing, Pairs, Target
from infoprune.statistics.precision import exact
from infoprune.statistics.sharing import share_moments
from infoprune.statistics.statistics import Statistics, token_weights
from infoprune.structure.modes import evaluation_mode, in_ordinary_mode
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites

WIDEST = 1024
"""Largest number of logits that are paired with units as they are: the moments of the pairs grow with its square."""


@in_ordinary_mode
def collect_pairs(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    pairing: Pairing,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Statistics:
    """Return the statistics with pairs: each site's units beside those of the next site above, at the same tokens.

    Above the topmost site lies the target: the input's logits, embedding or label, beside every one of its tokens (or
    the token's own logits, where the model has a softmax at every token or predicts where an answer starts and ends).
    Tokens are weighted by their importance at the site, as in `collect`, so that at the top of a classifier the tokens
    count that its head reads.

    Args:
        model: Model that the statistics are of.
        batches: Batches of the statistics; with the labels of the inputs where these are the target.
        statistics: Statistics from `collect`; their token weights are used.
        pairing: What to collect, such as `Fan2021().pairing`.
        seed: Seed of the sampled tokens.
        progress: Called with (batches done, batches in all).

    Returns:
        The statistics, whose sites have pairs.

    Raises:
        InputError: There are no labels, there are too many logits, two neighbouring sites have different tokens, or
            several processes would have to sample tokens.

    Examples:
        >>> criterion = Fan2021()
        >>> statistics = collect_pairs(model, batches, collect(model, batches), criterion.pairing)
        >>> rankings = rank(statistics, criterion, budget=Keep(0.5))
    """
    if pairing.samples is not None and process_count() > 1:
        raise InputError(
            f"{process_count()} processes cannot sample {pairing.samples} tokens together, expected one process "
            "with all inputs; use the gaussian estimator, or one process"
        )
    batches = accept(model, batches)
    sites = find_sites(model)
    selected = statistics.among(batches)
    chain = {site.name: above for site, above in zip(sites, (*sites[1:], None), strict=True)}
    chain = {name: above for name, above in chain.items() if name in statistics.sites}
    masks = [real_tokens(batch).cpu() for batch in batches]
    generator = torch.Generator().manual_seed(seed)
    gathered = {
        name: _PairAccumulator(token_weights(selected, name, masks, pairing.smoothing), pairing.samples, generator)
        for name in chain
    }
    device = device_of(model)
    with _inputs(model, sites) as seen, torch.no_grad():
        for index, batch in enumerate(batches):
            logits = _outputs(model, model(**model_inputs(batch, device)), masks[index].to(device))
            for name, above in chain.items():
                y = _target(logits, batch, pairing.target) if above is None else seen[above.name]
                gathered[name].add(index, torch.cat([seen[name], _at_every_token(seen[name], y)], -1).flatten(0, -2))
            if progress is not None:
                progress(index + 1, len(batches))
    found = {}
    for name, above in chain.items():
        site = statistics.sites[name]
        found[name] = replace(site, pairs=gathered[name].pairs(above, site.reader.shape[1]))
    return replace(statistics, sites={**statistics.sites, **found})


class _PairAccumulator:
    """Rows (x, y) of one site, accumulated batch by batch: their moments, or the sampled rows."""

    def __init__(self, weights: list[Tensor], samples: int | None, generator: torch.Generator) -> None:
        self._weights = weights
        self._sampled = None if samples is None else _sample(weights, samples, generator)
        self._moments = Moments.empty(0)
        self._rows: list[Tensor] = []

    def add(self, batch: int, rows: Float[Tensor, "t n_m"]) -> None:
        if self._sampled is not None:
            self._rows.append(rows[self._sampled[batch].to(rows.device)].float())
            return
        if batch == 0:
            self._moments = Moments.empty(rows.shape[1], exact(rows[:0]).device)
        self._moments.update(rows, self._weights[batch].flatten())

    def pairs(self, above: Site | None, here: int) -> Pairs:
        if self._sampled is None and process_count() > 1:
            share_moments(self._moments)
        joint = self._moments if self._sampled is None else torch.cat(self._rows)
        columns = joint.mean.numel() if isinstance(joint, Moments) else joint.shape[1]
        return Pairs(above, here, columns - here, joint)


@contextmanager
def _inputs(model: nn.Module, sites: Sequence[Site]) -> Iterator[dict[str, Tensor]]:
    """Record the latest input of every site's reader, by site name; the model is in evaluation mode meanwhile."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: seen.update({name: inputs[0].detach()})

    paths = {site.name: site.reader for site in sites}
    handles = [model.get_submodule(path).register_forward_pre_hook(note(name)) for name, path in paths.items()]
    try:
        with evaluation_mode(model):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _sample(
    weights: Sequence[Float[Tensor, "_ _"]], samples: int, generator: torch.Generator
) -> list[Int[Tensor, " sampled"]]:
    """Sample tokens without replacement, in proportion to their weights, and return their flat positions by batch."""
    flat = torch.cat([weight.flatten() for weight in weights])
    count = min(samples, int((flat > 0).sum()))
    chosen = torch.multinomial(flat, count, generator=generator).sort().values
    parts, start = [], 0
    for weight in weights:
        inside = (chosen >= start) & (chosen < start + weight.numel())
        parts.append(chosen[inside] - start)
        start += weight.numel()
    return parts


def _outputs(model: PreTrainedModel, output: Mapping[str, Any], mask: Tensor) -> Tensor:
    """Return logits of an input or of each of its tokens; those of start and end at every token; or an embedding."""
    if "start_logits" in output:
        return torch.stack([output["start_logits"], output["end_logits"]], -1)
    return read_answer(model, output, mask).values


def _target(logits: Tensor, batch: Batch, target: Target) -> Tensor:
    """Return what lies above the topmost site: logits, or indicators of all classes but the first."""
    if target == "logits":
        if logits.shape[-1] > WIDEST:
            raise InputError(
                f"the model has {logits.shape[-1]} logits, expected at most {WIDEST} for pairs with them; "
                "choose another criterion"
            )
        return logits
    labels = batch.get("labels")
    if labels is None or labels.shape != logits.shape[:1] or labels.is_floating_point():
        given = "no labels" if labels is None else f"labels of shape {tuple(labels.shape)}"
        raise InputError(
            f"the batches have {given}, expected one class number for every input; "
            "add 'labels' or use `target='logits'`"
        )
    return one_hot(labels.to(logits.device), logits.shape[-1])[:, 1:].to(logits.dtype)


def _at_every_token(x: Tensor, y: Tensor) -> Tensor:
    """Return the upper values y for every token of x."""
    if y.ndim < x.ndim:
        y = y[:, None].expand(*x.shape[:-1], -1)
    if y.shape[:-1] != x.shape[:-1]:
        raise InputError(
            f"a site has tokens of shape {tuple(x.shape[:-1])} and the one above it {tuple(y.shape[:-1])}, expected "
            "the same tokens; choose another criterion for encoder-decoder models"
        )
    return y
