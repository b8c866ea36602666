"""Collect: one streaming pass over the calibration inputs gives the statistics of every site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
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
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.linear import linear
from infoprune.structure.sites import Site, find_sites
from infoprune.structure.stream import Place, stack_of


def collect(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    sites: Iterable[Site] | None = None,
    floor: float = 3.0,
    ridge: float = 1e-2,
    draws: int | None = None,
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
    points = {point.name: point for site in chosen for point in _points(model, site)}
    gathered = {
        name: SiteStatistics.empty(model, point.site, floor, ridge)
        if point.place is None
        else SiteStatistics.at(model, point.site, point.place, floor, ridge)
        for name, point in points.items()
    }
    worth: dict[str, list[Tensor]] = {name: [] for name in points}
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    inputs, tokens = 0, 0
    with _frozen(model), _taps(model, points) as taps, torch.enable_grad():
        for index, batch in enumerate(batches):
            fed = model_inputs(batch, device)
            decodes = "decoder" if model.config.is_encoder_decoder else "layers"
            masks = {name: real_tokens(fed, name) for name in ("layers", decodes)}
            answer = answer_of(model, model(**fed), masks[decodes])
            squares = _pull(answer, draws or answer.draws, generator, taps, points, gathered)
            del answer  # and with it the graph, before the next batch makes another
            seen = 0
            for name, readers in taps.items():
                mask = masks[points[name].stack]
                worths = []
                for passed, square in zip(readers[0].passed, squares[name], strict=True):
                    x = exact(passed.x)
                    real = _real(x, mask.to(x.device))
                    gathered[name].tokens.update(x[real])
                    gathered[name].worth.update(x[real], square[real])
                    worths.append((square * real).float().reshape(len(mask), -1))
                    seen = int(real.sum()) if real.numel() > len(mask) or not seen else seen  # not of a pooled vector
                worth[name].append(torch.stack(worths).sum(0))
                for tap in readers:
                    tap.passed.clear()
            inputs, tokens = inputs + len(masks[decodes]), tokens + seen
            if progress is not None:
                progress(index + 1, len(batches))
    for statistics in gathered.values():
        statistics.demand.div_(inputs)
        _check_finite(statistics)
    kept = {name: tuple(each) for name, each in worth.items()}
    found = {site.name: _joined([gathered[point.name] for point in _points(model, site)]) for site in chosen}
    return Statistics(found, model.config.model_type, inputs, tokens, kept)


@dataclass(frozen=True)
class _Point:
    """Where the units of a site are measured: at its reader, or at one of the places that read the residual stream.

    Args:
        name: of the site, or of the place.
        site: whose units they are.
        modules: paths of the linear modules that read here.
        place: of the stream, or None.
        weights: of the modules, where the demand is taken at what they read and not at what they write.
    """

    name: str
    site: Site
    modules: tuple[str, ...]
    place: Place | None
    weights: tuple[Float[Tensor, "o n"], ...]

    @property
    def stack(self) -> str:
        return stack_of(self.name)


def _points(model: nn.Module, site: Site) -> list[_Point]:
    if site.residual is None:
        return [_Point(site.name, site, (site.reader,), None, ())]
    return [
        _Point(each.name, site, each.modules, each, tuple(linear(model, path).weight for path in each.modules))
        for each in site.residual.places
    ]


def _joined(places: Sequence[SiteStatistics]) -> SiteStatistics:
    return places[0] if len(places) == 1 else replace(places[0], others=tuple(places[1:]))


def _real(x: Float[Tensor, "... n"], mask: Bool[Tensor, "batch length"]) -> Bool[Tensor, ...]:
    """Which rows of an activation are no padding."""
    if x.ndim > mask.ndim:
        return mask.expand(x.shape[:-1])
    if len(x) == mask.numel():  # a family that joins all tokens of a batch into one axis
        return mask.flatten()
    return torch.ones_like(x[..., 0], dtype=torch.bool)


@dataclass(frozen=True)
class _Passed:
    """Input of a reader, and its output with gradient."""

    x: Tensor
    y: Tensor


class _Tap:
    """Catches what passes a reader, once for every time that its layer is applied."""

    def __init__(self) -> None:
        self.passed: list[_Passed] = []

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        y = output if output.requires_grad else output.requires_grad_()
        self.passed.append(_Passed(inputs[0].detach(), y))
        return y


@contextmanager
def _taps(model: nn.Module, points: Mapping[str, _Point]) -> Iterator[dict[str, list[_Tap]]]:
    """A tap for every module of every point."""
    taps = {name: [_Tap() for _ in point.modules] for name, point in points.items()}
    handles = [
        model.get_submodule(path).register_forward_hook(tap)
        for name, point in points.items()
        for path, tap in zip(point.modules, taps[name], strict=True)
    ]
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


def _pull(
    answer: Answer,
    draws: int,
    generator: torch.Generator,
    taps: Mapping[str, Sequence[_Tap]],
    points: Mapping[str, _Point],
    into: Mapping[str, SiteStatistics],
) -> dict[str, list[Float[Tensor, ...]]]:
    """Pulls every direction down to every point, adds to the demand, and returns |g|^2 of every token by point."""
    values = answer.values
    # half precision: the gradients of a sure prediction are tiny, a power of two brings them into range exactly
    scale = 2.0**12 if values.dtype == torch.float16 else 1.0
    applied = [
        (name, index, [each.y for each in passed])
        for name, readers in taps.items()
        for index, passed in enumerate(zip(*(tap.passed for tap in readers), strict=True))
    ]
    squares = {name: [torch.zeros_like(exact(p.y[..., 0])) for p in readers[0].passed] for name, readers in taps.items()}
    for direction in directions(values.detach(), draws, generator, answer.law):
        factor = direction.to(values.device).mul_(scale).mul_(answer.counts[..., None])
        objective = (values * factor.to(values.dtype)).sum()
        gradients = iter(torch.autograd.grad(objective, [y for _, _, ys in applied for y in ys], retain_graph=True))
        for name, index, ys in applied:
            arrived = [exact(next(gradients)).div(scale).flatten(0, -2) for _ in ys]
            rows = _at_input(arrived, points[name].weights)
            squares[name][index] += rows.square().sum(-1).reshape(squares[name][index].shape)
            into[name].demand.addmm_(rows.T, rows)
    return squares


def _at_input(arrived: Sequence[Float[Tensor, "t _"]], weights: Sequence[Float[Tensor, "_ n"]]) -> Float[Tensor, "t n"]:
    """The gradient at what several modules read, through these alone: the sum of g W."""
    if not weights:
        return arrived[0]
    return torch.stack([g @ exact(weight) for g, weight in zip(arrived, weights, strict=True)]).sum(0)


def _check_finite(statistics: SiteStatistics) -> None:
    finite: Bool[Tensor, ""] = (
        torch.isfinite(statistics.tokens.triangle).all() & torch.isfinite(statistics.demand).all()
    )
    if not finite:
        raise InputError(
            f"activations at {statistics.site.reader} are not finite, expected finite numbers; "
            "try the model in float32, and look at the inputs"
        )
