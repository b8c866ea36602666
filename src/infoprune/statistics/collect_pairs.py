"""Collect pairs: one forward pass that brings the units of every site together with what stands above them."""

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
from infoprune.statistics.answer import read_answer
from infoprune.statistics.calibration import Batch, Progress, model_inputs, real_tokens
from infoprune.statistics.moments import Moments
from infoprune.statistics.pairs import Pairing, Pairs, Target
from infoprune.statistics.precision import exact
from infoprune.statistics.sharing import share_moments
from infoprune.statistics.statistics import Statistics, token_weights
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites

WIDEST = 1024
"""Outputs that can still stand above a site as they are: the moments of the pairs grow with their square."""


def collect_pairs(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    pairing: Pairing,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Statistics:
    """The statistics with pairs: each site's units beside those of the next site above, at the same tokens.

    Above the topmost site stands the target: the input's logits, embedding or label, beside every one of its tokens (or
    the token's own logits, where the model has a softmax at every token or says where an answer starts and ends).
    Tokens are weighted by their worth at the site, as in `collect`, so that at the top of a classifier the tokens count
    that its head reads.

    Args:
        model: the one that the statistics are of.
        batches: those of the statistics; with the labels of the inputs where these are the target.
        statistics: from `collect`; their token weights are used.
        pairing: what is wanted, such as `Fan2021().pairing`.
        seed: of the draw of tokens.
        progress: called with (batches done, batches in all).

    Raises:
        InputError: there are no labels, too many logits, two neighbouring sites see different tokens, or tokens would
            have to be drawn by several processes.

    Example:
        >>> criterion = Fan2021()
        >>> statistics = collect_pairs(model, batches, collect(model, batches), criterion.pairing)
        >>> rankings = rank(statistics, criterion, budget=Keep(0.5))
    """
    if pairing.samples is not None and process_count() > 1:
        raise InputError(
            f"{process_count()} processes were to draw {pairing.samples} tokens together, expected one that sees all; "
            "use the gaussian estimator, or one process"
        )
    sites = find_sites(model)
    weighing = statistics.among(batches)
    chain = {site.name: above for site, above in zip(sites, (*sites[1:], None), strict=True)}
    chain = {name: above for name, above in chain.items() if name in statistics.sites}
    masks = [real_tokens(batch).cpu() for batch in batches]
    generator = torch.Generator().manual_seed(seed)
    gathered = {
        name: _Gathered(token_weights(weighing, name, masks, pairing.floor), pairing.samples, generator)
        for name in chain
    }
    device = device_of(model)
    with _inputs(model, sites) as seen, torch.no_grad():
        for index, batch in enumerate(batches):
            logits = _said(model, model(**model_inputs(batch, device)), masks[index].to(device))
            for name, above in chain.items():
                y = _target(logits, batch, pairing.target) if above is None else seen[above.name]
                gathered[name].add(index, torch.cat([seen[name], _beside(seen[name], y)], -1).flatten(0, -2))
            if progress is not None:
                progress(index + 1, len(batches))
    found = {}
    for name, above in chain.items():
        site = statistics.sites[name]
        found[name] = replace(site, pairs=gathered[name].pairs(above, site.reader.shape[1]))
    return replace(statistics, sites={**statistics.sites, **found})


class _Gathered:
    """Rows (x, y) of one site as they come in, batch by batch: their moments, or those that are drawn."""

    def __init__(self, weights: list[Tensor], samples: int | None, generator: torch.Generator) -> None:
        self._weights = weights
        self._drawn = None if samples is None else _draw(weights, samples, generator)
        self._moments = Moments.empty(0)
        self._rows: list[Tensor] = []

    def add(self, batch: int, rows: Float[Tensor, "t n_m"]) -> None:
        if self._drawn is not None:
            self._rows.append(rows[self._drawn[batch].to(rows.device)].float())
            return
        rows = exact(rows)
        if batch == 0:
            self._moments = Moments.empty(rows.shape[1], rows.device)
        self._moments.update(rows, self._weights[batch].flatten().to(rows.device))

    def pairs(self, above: Site | None, here: int) -> Pairs:
        if self._drawn is None and process_count() > 1:
            share_moments(self._moments)
        joint = self._moments if self._drawn is None else torch.cat(self._rows)
        width = joint.mean.numel() if isinstance(joint, Moments) else joint.shape[1]
        return Pairs(above, here, width - here, joint)


@contextmanager
def _inputs(model: nn.Module, sites: Sequence[Site]) -> Iterator[dict[str, Tensor]]:
    """The latest input of every site's reader, by site name; the model is in evaluation mode meanwhile."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: seen.update({name: inputs[0].detach()})

    modes = [(module, module.training) for module in model.modules()]
    paths = {site.name: site.reader for site in sites}
    handles = [model.get_submodule(path).register_forward_pre_hook(note(name)) for name, path in paths.items()]
    try:
        model.eval()
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training


def _draw(
    weights: Sequence[Float[Tensor, "_ _"]], samples: int, generator: torch.Generator
) -> list[Int[Tensor, " drawn"]]:
    """Flat positions of the tokens drawn from every batch, without replacement, in proportion to their weights."""
    flat = torch.cat([weight.flatten() for weight in weights])
    count = min(samples, int((flat > 0).sum()))
    chosen = torch.multinomial(flat, count, generator=generator).sort().values
    parts, start = [], 0
    for weight in weights:
        inside = (chosen >= start) & (chosen < start + weight.numel())
        parts.append(chosen[inside] - start)
        start += weight.numel()
    return parts


def _said(model: PreTrainedModel, output: Mapping[str, Any], mask: Tensor) -> Tensor:
    """Logits of an input or of each of its tokens; those of start and end at every token; or an embedding."""
    if "start_logits" in output:
        return torch.stack([output["start_logits"], output["end_logits"]], -1)
    return read_answer(model, output, mask).values


def _target(logits: Tensor, batch: Batch, target: Target) -> Tensor:
    """What stands above the topmost site: logits, or indicators of all classes but the first."""
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
            f"the batches have {given}, expected one class number for every input; add 'labels' or use target='logits'"
        )
    return one_hot(labels.to(logits.device), logits.shape[-1])[:, 1:].to(logits.dtype)


def _beside(x: Tensor, y: Tensor) -> Tensor:
    """The upper values y for every token of x."""
    if y.ndim < x.ndim:
        y = y[:, None].expand(*x.shape[:-1], -1)
    if y.shape[:-1] != x.shape[:-1]:
        raise InputError(
            f"a site sees tokens of shape {tuple(x.shape[:-1])} and the one above it {tuple(y.shape[:-1])}, expected "
            "the same tokens; choose another criterion for encoder-decoder models"
        )
    return y
