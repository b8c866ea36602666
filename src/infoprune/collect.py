"""Collect: one streaming pass over the calibration inputs gives the statistics of every site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.calibration import Batch, Progress, check_batches, check_finite_weights, model_inputs, real_tokens
from infoprune.demand import directions
from infoprune.errors import InputError
from infoprune.precision import exact
from infoprune.sites import Site, find_sites
from infoprune.statistics import SiteStatistics, Statistics


def collect(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Iterable[Site] | None = None,
    floor: float = 3.0,
    ridge: float = 1e-2,
    draws: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
) -> Statistics:
    """Moments and demand of every site, in one forward pass and a few backward passes per batch.

    Args:
        model: a model with a softmax on top; it is left as it was found.
        batches: tokenised inputs as `model(**batch)` takes them; labels are ignored. Padding, where the attention mask
            is 0, does not count.
        sites: which sites; None means all of them.
        floor: token weight of a token without gradient, a fraction of the mean; inf weighs all tokens alike.
        ridge: shrinkage of the covariances, a fraction of their mean diagonal.
        draws: samples per softmax where it has more than 16 classes or stands at every token.
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
    check_finite_weights(model)
    chosen = tuple(sites) if sites is not None else find_sites(model)
    gathered = {site.name: SiteStatistics.empty(model, site, floor, ridge) for site in chosen}
    worth: dict[str, list[Tensor]] = {site.name: [] for site in chosen}
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    inputs, tokens = 0, 0
    with _frozen(model), _taps(model, chosen) as taps, torch.enable_grad():
        for index, batch in enumerate(batches):
            fed = model_inputs(batch, device)
            mask = real_tokens(fed)
            logits = _logits(model, fed)
            squares = _pull(logits, directions(logits.detach(), draws, generator), taps, gathered)
            for name, tap in taps.items():
                x = exact(tap.x)
                real = mask.to(x.device) if x.ndim == mask.ndim + 1 else torch.ones_like(x[..., 0], dtype=torch.bool)
                gathered[name].tokens.update(x[real])
                gathered[name].worth.update(x[real], squares[name][real])
                worth[name].append((squares[name] * real).float())
            inputs, tokens = inputs + len(mask), tokens + int(mask.sum())
            if progress is not None:
                progress(index + 1, len(batches))
    for statistics in gathered.values():
        statistics.demand.div_(inputs)
        _check_finite(statistics)
    kept = {name: tuple(each) for name, each in worth.items()}
    return Statistics(gathered, model.config.model_type, inputs, tokens, kept)


class _Tap:
    """Catches a reader's input and output; the output is made to ask for a gradient."""

    x: Tensor
    y: Tensor

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        self.x = inputs[0].detach()
        self.y = output if output.requires_grad else output.requires_grad_()
        return self.y


@contextmanager
def _taps(model: nn.Module, sites: Iterable[Site]) -> Iterator[dict[str, _Tap]]:
    taps = {site.name: _Tap() for site in sites}
    handles = [model.get_submodule(site.reader).register_forward_hook(taps[site.name]) for site in sites]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients for weights, for a while."""
    modes = [(module, module.training) for module in model.modules()]
    asks = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in asks:
            parameter.requires_grad_(wanted)


def _logits(model: PreTrainedModel, fed: Mapping[str, Tensor]) -> Tensor:
    """What the softmax is taken of."""
    logits: Tensor | None = getattr(model(**fed), "logits", None)
    if logits is None:
        raise InputError(
            f"{type(model).__name__} gives no logits, expected a model with a task head; load the class of its task"
        )
    if logits.shape[-1] < 2:
        raise InputError(
            "the model has one output (regression), expected a softmax over at least 2 classes; pass a classifier"
        )
    if not torch.isfinite(logits).all():
        raise InputError(
            "the model's logits are not finite on the calibration inputs, expected finite numbers; "
            "try the model in float32, and look at the inputs"
        )
    return logits


def _pull(
    logits: Tensor,
    factors: Float[Tensor, "directions ..."],
    taps: Mapping[str, _Tap],
    into: Mapping[str, SiteStatistics],
) -> dict[str, Float[Tensor, ...]]:
    """Pulls every direction down to every site, adds to the demand, and returns |g|^2 of every token by site."""
    # half precision: the gradients of a sure prediction are tiny, a power of two brings them into range exactly
    scale = 2.0**12 if logits.dtype == torch.float16 else 1.0
    outputs = [tap.y for tap in taps.values()]
    squares = {name: torch.zeros_like(exact(tap.y[..., 0])) for name, tap in taps.items()}
    for k, direction in enumerate(factors):
        objective = (logits * (direction * scale).to(logits.dtype).to(logits.device)).sum()
        gradients = torch.autograd.grad(objective, outputs, retain_graph=k + 1 < len(factors))
        for name, gradient in zip(taps, gradients, strict=True):
            rows = exact(gradient).div(scale).flatten(0, -2)
            squares[name] += rows.square().sum(-1).reshape(squares[name].shape)
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
