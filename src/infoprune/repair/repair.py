"""Repair: from the bottom to the top, what was cut is re-fitted to what the dense network does at the same place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import check_same_tokens, kept_within
from infoprune.processes import add_up, starts
from infoprune.repair.lockstep import Arrival, Lockstep, Meeting
from infoprune.repair.neurons import enough_tokens, parts_of, refit_neurons
from infoprune.repair.norm import refit_norm
from infoprune.repair.places import Place, places_of
from infoprune.repair.ridge import Sums, fit_ridge, sums_by_fold
from infoprune.statistics.answer import remedy
from infoprune.statistics.calibration import Batch, Progress, real_tokens
from infoprune.statistics.collect import collect_worth
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import Statistics, token_weights
from infoprune.statistics.temper import tempered
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites, sites_by_name

FOLDS = 4

Fit = Callable[[Place, LinearMap, Sequence[Sums]], tuple[Tensor, Tensor]]
"""Weight and bias of a linear module from what it is, and from the rows to fit, added up in parts."""
Rows = tuple[Tensor, Tensor, Tensor]
"""Of a batch inputs (inputs, length, n), targets (inputs, length, o) and weights (inputs, length) of a regression."""
Weigh = Callable[[Place], Sequence[Tensor]]
"""Weights of all tokens, batch by batch."""


def repair(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    statistics: Statistics | None = None,
    floor: float = 3.0,
    ridge: float | None = None,
    producers: bool = True,
    neurons: bool | None = None,
    sites: Collection[str] | None = None,
    own: int | None = None,
    progress: Progress | None = None,
) -> PreTrainedModel:
    r"""A copy of the pruned model, re-fitted bottom-up by token-weighted ridge regression to the dense one.

    At every reader, with x its input in the pruned network (everything below being repaired already), r the residual
    there and y the dense network's output with the dense residual,

        min over W, b of  sum_t w_t |W x_t + b + r_t - y_t|^2 + ridge mean(diag Cov x) |W - W_0|^2

    where W_0 is the weight as it is; a token whose input or error is far longer than its text's median is weighed down
    (see `tempered`). Producers are re-fitted in the same way, without a residual, to what the kept
    units do in the dense network: their inputs have changed too. Where the width was cut, so is everything that reads
    the residual stream, and the norms are re-fitted to what the dense ones say at the kept coordinates. Where tokens
    are many, what writes neurons is re-fitted once more together with their reader, see `refit_neurons`. All passes
    advance together from place to place, so this costs one forward pass of each network, and memory for the
    activations of all inputs at one place. In a process group every process passes its own batches, and all re-fit
    alike to the sums over all.

    Args:
        small: from `prune`.
        dense: the model that it was cut from.
        batches: tokenised inputs without labels; those of `collect` will do.
        statistics: of the dense model on these batches, for the worth of each token; collected if not given.
        floor: token weight of a token without gradient, a fraction of the mean; inf weighs all tokens alike.
        ridge: a fraction of the inputs' mean variance; None chooses it at every place by cross-validation over texts.
        producers: re-fit producers as well as readers.
        neurons: re-fit what writes neurons a second time, to what their reader has to say (see `refit_neurons`); None
            does so where there are tokens enough. It needs `producers`.
        sites: names of the sites to re-fit; None means all.
        own: how many of the batches are inputs of their own; those that follow are copies of these, in turn, as from
            `with_copies`, and cross-validation holds a copy out together with what it is a copy of. None means all.
        progress: called with (places done, places in all).

    Raises:
        InputError: the statistics are of other batches, a regression is not finite, layers are shared, or the dense
            model has other tokens.
    """
    statistics = collect_worth(dense, batches, sites=_cut(small, dense)) if statistics is None else statistics

    def wanted(place: Place) -> bool:
        return (producers or place.reads) and (sites is None or place.worth in sites)

    return refit_bottom_up(
        small,
        dense,
        batches,
        chosen=wanted,
        weigh=by_worth(statistics, batches, floor),
        fit=partial(_by_ridge, ridge=ridge),
        neurons=neurons,
        temper=True,
        own=own,
        progress=progress,
    )


def refit_bottom_up(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    chosen: Callable[[Place], bool],
    weigh: Weigh,
    fit: Fit,
    neurons: bool | None = False,
    temper: bool = False,
    own: int | None = None,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """A copy of the pruned model whose linear modules are re-fitted one after the other, from the bottom to the top.

    Args:
        small: from `prune`.
        dense: the model that it was cut from.
        batches: tokenised inputs.
        chosen: which places are re-fitted.
        weigh: token weights at a place.
        fit: what is done there.
        neurons: whether what writes neurons is re-fitted together with their reader, see `repair`.
        temper: no token whose input or error is far longer than its text's median outweighs the others, see `tempered`.
        own: how many of the batches are no copies, see `repair`.
        progress: called with (places done, places in all).

    Raises:
        InputError: layers are shared, or the dense model has other tokens.
    """
    check_repairable(find_sites(small))
    check_same_tokens(small, dense)
    repaired = copy.deepcopy(small)
    repaired.eval()
    places = {path: place for path, place in places_of(repaired, dense).items() if chosen(place)}
    written = {place.neurons[0].module for place in places.values() if place.neurons and neurons is not False}
    meetings = [Meeting(place.module, place.stream) for place in places.values()]
    numbers = starts([len(next(iter(batch.values()))) for batch in batches[:own]])
    firsts = [numbers[index % len(numbers)] for index in range(len(batches))]
    modes = [(module, module.training) for module in dense.modules()]
    dense.eval()
    try:
        with Lockstep(dense, batches, meetings) as ahead, Lockstep(repaired, batches, meetings) as behind:
            done, inputs = 0, dict[str, list[Tensor]]()
            while done < len(places) and (arrivals := behind.arrive()):
                goals = ahead.arrive()
                ahead.resume([goal.total for goal in goals])
                place = places[arrivals[0].place]
                rows = _rows(place, arrivals, goals, weigh(place), temper)
                del goals
                if place.module in written:
                    inputs[place.module] = [arrival.x for arrival in arrivals]
                fed = inputs.pop(place.neurons[0].module, None) if place.neurons else None
                if fed is not None and neurons is None and not enough_tokens(fed, rows):
                    fed = None
                behind.resume(_refit(repaired, place, arrivals, rows, firsts, fit, fed))
                done += 1
                if progress is not None:
                    progress(done, len(places))
    finally:
        for module, training in modes:
            module.training = training
    for module, before in zip(repaired.modules(), small.modules(), strict=True):
        module.training = before.training
    return repaired


def by_worth(statistics: Statistics, batches: Sequence[Batch], floor: float) -> Weigh:
    """Weights of the tokens of some batches by their worth, as `token_weights` has them.

    Raises:
        InputError: the statistics are of other batches.
    """
    statistics = statistics.among(batches)

    def weigh(place: Place) -> Sequence[Tensor]:
        masks = [real_tokens(batch, place.stack).cpu() for batch in batches]
        return token_weights(statistics, place.worth, masks, floor)

    return weigh


def _cut(small: PreTrainedModel, dense: PreTrainedModel) -> list[Site]:
    """The sites of the layers, and others where they were cut."""
    always = {site.name for site in find_sites(dense)}
    return [
        site
        for name, site in sites_by_name(dense).items()
        if name in always or len(kept_within(small, dense, name, site.units)) < site.units
    ]


def check_repairable(sites: Collection[Site]) -> None:
    """Raises InputError where one weight serves several layers, which would have to be re-fitted as one."""
    for site in sites:
        if site.shared:
            raise InputError(
                f"{site.reader} is applied several times in a pass, expected a layer of its own for every application: "
                "the repair cannot re-fit it yet; cut without (repair=False, --no-repair)"
            )


def _rows(
    place: Place, arrivals: Sequence[Arrival], goals: Sequence[Arrival], weights: Sequence[Tensor], temper: bool
) -> list[Rows]:
    """Of every batch the inputs, the targets and the weights of the regression."""
    rows = []
    for arrival, goal, weight in zip(arrivals, goals, weights, strict=True):
        residual = arrival.total - arrival.y
        wanted = goal.total.to(residual.device)
        wanted = wanted if place.rows is None else wanted[..., place.rows.to(wanted.device)]
        weight = _beside(weight, arrival.x).to(residual.device)
        for each in (arrival.x, wanted - arrival.total) if temper else ():
            weight = weight * tempered(each, weight > 0)
        rows.append((arrival.y if place.norm else arrival.x, wanted - residual, weight))
    return rows


def _refit(
    model: PreTrainedModel,
    place: Place,
    arrivals: Sequence[Arrival],
    rows: Sequence[Rows],
    firsts: Sequence[int],
    fit: Fit,
    fed: Sequence[Tensor] | None,
) -> list[Tensor]:
    """Re-fits one module in place, and what writes its neurons if there is what that is fed with.

    Returns:
        What the passes go on with.
    """
    if place.norm:
        return refit_norm(model, place.module, rows)
    module = linear(model, place.module)

    def add_rows(inputs: Sequence[Tensor]) -> list[Sums]:
        new = ((x, target, weight) for x, (_, target, weight) in zip(inputs, rows, strict=True))
        return _of_all(sums_by_fold(new, firsts, module.weight, FOLDS))

    read = [x for x, _, _ in rows]
    parts = add_rows(read)
    if fed is not None:
        held = [
            ((first + torch.arange(len(weight), device=weight.device)) % FOLDS == 0)[:, None].expand(weight.shape)
            for first, (_, _, weight) in zip(firsts, rows, strict=True)
        ]
        writers = parts_of(model, place.neurons, place.units)
        read, parts = refit_neurons(model, writers, fed, rows, held, parts, add_rows, partial(fit, place, module))
    weight, bias = fit(place, module, parts)
    if not torch.isfinite(weight).all() or not torch.isfinite(bias).all():
        raise InputError(
            f"the regression at {place.module} is not finite, expected finite activations; "
            f"{remedy(module.weight.dtype)}"
        )
    module.weight.copy_(weight)
    if module.bias is not None:
        module.bias.copy_(bias)
    # not module(x): its hooks belong to the passes
    return [
        arrival.total - arrival.y + functional.linear(x, module.weight, module.bias)
        for arrival, x in zip(arrivals, read, strict=True)
    ]


def _by_ridge(place: Place, module: LinearMap, parts: Sequence[Sums], *, ridge: float | None) -> tuple[Tensor, Tensor]:
    return fit_ridge(parts, exact(module.weight), ridge=ridge, intercept=module.bias is not None)


def _beside(weight: Tensor, x: Tensor) -> Tensor:
    """A weight for every vector: the heaviest token's for the one that a head has made of them all."""
    if x.shape[1] == 1 and weight.shape[1] > 1:
        weight = weight.amax(1, keepdim=True)
    return weight.expand(x.shape[:-1])


def _of_all(parts: Sequence[Sums]) -> list[Sums]:
    """The same sums over the rows of all processes."""
    squares = torch.tensor([part.tt for part in parts], dtype=torch.float64)
    add_up(squares, *(tensor for part in parts for tensor in (part.xx, part.xt)))
    return [Sums(part.xx, part.xt, float(tt)) for part, tt in zip(parts, squares, strict=True)]
