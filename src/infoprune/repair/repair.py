"""Repair: from the bottom to the top, what was cut is re-fitted to what the dense network does at the same place."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import check_same_tokens, kept_within
from infoprune.processes import add_up, starts
from infoprune.repair.lockstep import Arrival, Lockstep, Meeting
from infoprune.repair.ridge import Sums, fit_ridge, sums_by_fold
from infoprune.statistics.answer import remedy
from infoprune.statistics.calibration import Batch, Progress, real_tokens
from infoprune.statistics.collect import collect_worth
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import Statistics, token_weights
from infoprune.statistics.temper import tempered
from infoprune.structure.linear import linear
from infoprune.structure.sites import Site, find_sites

FOLDS = 4


def repair(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    statistics: Statistics | None = None,
    floor: float = 3.0,
    ridge: float | None = None,
    producers: bool = True,
    progress: Progress | None = None,
) -> PreTrainedModel:
    r"""A copy of the pruned model, re-fitted bottom-up by token-weighted ridge regression to the dense one.

    At every reader, with x its input in the pruned network (everything below being repaired already), r the residual
    there and y the dense network's output with the dense residual,

        min over W, b of  sum_t w_t |W x_t + b + r_t - y_t|^2 + ridge mean(diag Cov x) |W - W_0|^2

    where W_0 is the weight as it is; a token whose input or error is far longer than its text's median is weighed down
    (see `tempered`). Producers are re-fitted in the same way, without a residual, to what the kept
    units do in the dense network: their inputs have changed too. All passes advance together from place to place, so
    this costs one forward pass of each network, and memory for the activations of all inputs at one place. In a process
    group every process passes its own batches, and all re-fit alike to the sums over all.

    Args:
        small: from `prune`.
        dense: the model that it was cut from.
        batches: tokenised inputs without labels; those of `collect` will do.
        statistics: of the dense model on these batches, for the worth of each token; collected if not given.
        floor: token weight of a token without gradient, a fraction of the mean; inf weighs all tokens alike.
        ridge: a fraction of the inputs' mean variance; None chooses it at every place by cross-validation over texts.
        producers: re-fit producers as well as readers.
        progress: called with (places done, places in all).

    Raises:
        InputError: the statistics are of other batches, a regression is not finite, layers are shared, or the dense
            model has other tokens.
    """
    check_repairable(find_sites(small))
    check_same_tokens(small, dense)
    statistics = collect_worth(dense, batches) if statistics is None else statistics
    statistics = statistics.among(batches)
    repaired = copy.deepcopy(small)
    repaired.eval()
    places = {place.module: place for place in _places(repaired, dense) if producers or place.reads}
    meetings = [Meeting(place.module, place.stream) for place in places.values()]
    stacks = {site.stack for site in find_sites(dense, empty=True)}
    masks = {stack: [real_tokens(batch, stack).cpu() for batch in batches] for stack in stacks}
    firsts = starts([len(next(iter(batch.values()))) for batch in batches])
    modes = [(module, module.training) for module in dense.modules()]
    dense.eval()
    try:
        with Lockstep(dense, batches, meetings) as ahead, Lockstep(repaired, batches, meetings) as behind:
            done = 0
            while arrivals := behind.arrive():
                goals = ahead.arrive()
                ahead.resume([goal.total for goal in goals])
                place = places[arrivals[0].place]
                weights = token_weights(statistics, place.site, masks[place.stack], floor)
                behind.resume(_refit(repaired, place, arrivals, goals, weights, firsts, ridge))
                done += 1
                if progress is not None:
                    progress(done, len(places))
    finally:
        for module, training in modes:
            module.training = training
    for module, before in zip(repaired.modules(), small.modules(), strict=True):
        module.training = before.training
    return repaired


def check_repairable(sites: Collection[Site]) -> None:
    """Raises InputError where one weight serves several layers, which would have to be re-fitted as one."""
    for site in sites:
        if site.shared:
            raise InputError(
                f"{site.reader} is applied several times in a pass, expected a layer of its own for every application: "
                "the repair cannot re-fit it yet; cut without (repair=False, --no-repair)"
            )


@dataclass(frozen=True)
class _Place:
    """A linear module to re-fit, the site that it writes or reads, and which rows of the dense module it still has."""

    module: str
    site: str
    stream: str | None
    rows: Int[Tensor, " rows"] | None
    reads: bool

    @property
    def stack(self) -> str:
        return self.site.partition(".")[0]


def _places(small: PreTrainedModel, dense: PreTrainedModel) -> Iterator[_Place]:
    whole = {site.name: site for site in find_sites(dense, empty=True)}
    for site in find_sites(small, empty=True):  # of an empty one the bias is left
        units = whole[site.name].units
        kept = torch.tensor(kept_within(small, dense, site.name, units))
        for producer in site.refit:
            rows = None if len(kept) == units else producer.rows(kept, units)
            yield _Place(producer.module, site.name, None, rows, reads=False)
        yield _Place(site.reader, site.name, site.stream, None, reads=True)


def _refit(
    model: PreTrainedModel,
    place: _Place,
    arrivals: Sequence[Arrival],
    goals: Sequence[Arrival],
    weights: Sequence[Tensor],
    firsts: Sequence[int],
    ridge: float | None,
) -> list[Tensor]:
    """Re-fits one linear module in place and returns what the passes go on with."""
    module = linear(model, place.module)
    residuals = [arrival.total - arrival.y for arrival in arrivals]
    rows = []
    for arrival, goal, residual, weight in zip(arrivals, goals, residuals, weights, strict=True):
        wanted = goal.total.to(residual.device)
        wanted = wanted if place.rows is None else wanted[..., place.rows.to(wanted.device)]
        weight = weight.expand(arrival.x.shape[:-1]).to(residual.device)
        for each in (arrival.x, wanted - arrival.total):  # neither an input nor an error may outweigh all others
            weight = weight * tempered(each, weight > 0)
        rows.append((arrival.x, wanted - residual, weight))
    anchor = exact(module.weight)
    parts = sums_by_fold(rows, firsts, anchor, FOLDS)
    weight, bias = fit_ridge(_of_all(parts), anchor, ridge=ridge, intercept=module.bias is not None)
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
        residual + functional.linear(arrival.x, module.weight, module.bias)
        for residual, arrival in zip(residuals, arrivals, strict=True)
    ]


def _of_all(parts: Sequence[Sums]) -> list[Sums]:
    """The same sums over the rows of all processes."""
    squares = torch.tensor([part.tt for part in parts], dtype=torch.float64)
    add_up(squares, *(tensor for part in parts for tensor in (part.xx, part.xt)))
    return [Sums(part.xx, part.xt, float(tt)) for part, tt in zip(parts, squares, strict=True)]
