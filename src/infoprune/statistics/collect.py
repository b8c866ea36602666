"""Collect: one streaming pass over the calibration inputs gives the statistics of every site."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.statistics.answer import Answer, answer_of
from infoprune.statistics.calibration import (
    Batch,
    Progress,
    check_batches,
    check_finite_weights,
    check_targets,
    model_inputs,
    real_tokens,
)
from infoprune.statistics.demand import directions
from infoprune.statistics.masks import Extra, Extras
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.statistics.taps import Tap, frozen, tapped
from infoprune.structure.sites import Site, find_sites


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
    progress: Progress | None = None,
) -> Statistics:
    """Moments and demand of every site, in one forward pass and a few backward passes per batch.

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
        progress: called with (batches done, batches in all).

    Raises:
        InputError: a weight or an activation is not finite, or there is nothing to collect from.

    Example:
        >>> statistics = collect(model, batches)
        >>> statistics.sites["layers.0.ffn"].covariance.shape
        torch.Size([1536, 1536])
    """
    check_batches(batches)
    check_targets(model, batches)
    check_finite_weights(model)
    chosen = tuple(sites) if sites is not None else find_sites(model)
    gathered = {site.name: SiteStatistics.empty(model, site, floor, ridge) for site in chosen}
    worth: dict[str, list[Tensor]] = {site.name: [] for site in chosen}
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    beside = Extras(extras)
    inputs, tokens = 0, 0
    with frozen(model), tapped(model, chosen) as taps, torch.enable_grad():
        for index, batch in enumerate(batches):
            fed = model_inputs(batch, device)
            decodes = "decoder" if model.config.is_encoder_decoder else "layers"
            masks = {name: real_tokens(fed, name) for name in ("layers", decodes)}
            answer = answer_of(model, model(**fed), masks[decodes])
            squares = _pull(answer, draws or answer.draws, generator, taps, gathered, beside)
            del answer  # and with it the graph, before the next batch makes another
            seen = 0
            for name, tap in taps.items():
                mask = masks[gathered[name].site.stack]
                worths = []
                for passed, square in zip(tap.passed, squares[name], strict=True):
                    x = exact(passed.x)
                    real = _real(x, mask.to(x.device))
                    beside.hear(gathered[name], x, real, len(mask))
                    gathered[name].tokens.update(x[real])
                    gathered[name].worth.update(x[real], square[real])
                    worths.append((square * real).float().reshape(len(mask), -1))
                    seen = int(real.sum())
                worth[name].append(torch.stack(worths).sum(0))
                tap.passed.clear()
            beside.end_batch()
            inputs, tokens = inputs + len(masks[decodes]), tokens + seen
            if progress is not None:
                progress(index + 1, len(batches))
    for statistics in gathered.values():
        statistics.demand.div_(inputs)
        _check_finite(statistics)
    kept = {name: tuple(each) for name, each in worth.items()}
    return Statistics(beside.added(gathered), model.config.model_type, inputs, tokens, kept)


def _real(x: Float[Tensor, "... n"], mask: Bool[Tensor, "batch length"]) -> Bool[Tensor, ...]:
    """Which rows of an activation are no padding."""
    if x.ndim > mask.ndim:
        return mask.expand(x.shape[:-1])
    if len(x) == mask.numel():  # a family that joins all tokens of a batch into one axis
        return mask.flatten()
    return torch.ones_like(x[..., 0], dtype=torch.bool)


def _pull(
    answer: Answer,
    draws: int,
    generator: torch.Generator,
    taps: Mapping[str, Tap],
    into: Mapping[str, SiteStatistics],
    beside: Extras,
) -> dict[str, list[Float[Tensor, ...]]]:
    """Pulls every direction down to every site, adds to the demand, and returns |g|^2 of every token by site."""
    values = answer.values
    # half precision: the gradients of a sure prediction are tiny, a power of two brings them into range exactly
    scale = 2.0**12 if values.dtype == torch.float16 else 1.0
    passes = [(name, index, each) for name, tap in taps.items() for index, each in enumerate(tap.passed)]
    squares = {name: [torch.zeros_like(exact(each.y[..., 0])) for each in tap.passed] for name, tap in taps.items()}
    for number, direction in enumerate(directions(values.detach(), draws, generator, answer.law)):
        factor = direction.to(values.device).mul_(scale).mul_(answer.counts[..., None])
        objective = (values * factor.to(values.dtype)).sum()
        gradients = torch.autograd.grad(objective, [each.y for _, _, each in passes], retain_graph=True)
        for (name, index, each), gradient in zip(passes, gradients, strict=True):
            rows = exact(gradient).div(scale).flatten(0, -2)
            beside.feel(into[name], number, each.x, rows, len(values))
            squares[name][index] += rows.square().sum(-1).reshape(squares[name][index].shape)
            into[name].demand.addmm_(rows.T, rows)
    return squares


def _check_finite(statistics: SiteStatistics) -> None:
    finite: Bool[Tensor, ""] = (
        torch.isfinite(statistics.tokens.triangle).all() & torch.isfinite(statistics.demand).all()
    )
    if not finite:
        raise InputError(
            f"activations at {statistics.site.reader} are not finite, expected finite numbers; "
            "try the model in float32, and look at the inputs"
        )
