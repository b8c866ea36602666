"""Repair: re-fitting of a pruned model to the outputs of the dense one, module by module, bottom-up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.trim_memory import trim_memory
from infoprune.plan import check_same_tokens, kept_within
from infoprune.processes import starts
from infoprune.repairing.experts import refit_experts
from infoprune.repairing.lockstep import Lockstep, PausedPass
from infoprune.repairing.neurons import enough_tokens, parts_of, refit_neurons
from infoprune.repairing.norm import refit_norm
from infoprune.repairing.over_processes import over_processes
from infoprune.repairing.refit_steps import RefitStep, refit_steps
from infoprune.repairing.ridge import Samples, Sums, fit_ridge, sums_by_part
from infoprune.repairing.samples import samples_of
from infoprune.repairing.siblings import find_siblings
from infoprune.statistics.accept import accept
from infoprune.statistics.answer import remedy
from infoprune.statistics.calibration import Batch, Progress, real_tokens
from infoprune.statistics.collect import collect_importance
from infoprune.statistics.metric import reader_metric
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import Statistics, token_weights
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.modes import evaluation_mode, in_ordinary_mode
from infoprune.structure.plain import on_plain_model
from infoprune.structure.scale import output_scale
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites, sites_by_name

Fit = Callable[[RefitStep, LinearMap, Sequence[Sums]], tuple[Tensor, Tensor]]
"""New weight and bias of a linear module, from its present ones and the sums of its regression by part."""
Weigh = Callable[[RefitStep], Sequence[Tensor]]
"""Weights of all tokens at a step, batch by batch."""


@in_ordinary_mode
@on_plain_model
def repair(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    statistics: Statistics | None = None,
    smoothing: float = 3.0,
    ridge: float | None = None,
    producers: bool = True,
    neurons: bool | None = None,
    sites: Collection[str] | None = None,
    own: int | None = None,
    in_place: bool = False,
    progress: Progress | None = None,
) -> PreTrainedModel:
    r"""Return a copy of the pruned model, re-fitted bottom-up to the dense one by token-weighted ridge regression.

    At every reader, with x its input in the pruned network (everything below is repaired already), r the residual
    there and y the dense network's output plus the dense residual,

        min over W, b of  sum_t w_t |W x_t + b + r_t - y_t|^2 + ridge mean(diag Cov x) |W - W_0|^2

    where W_0 is the present weight; a token whose input or error is far longer than the median of its text gets a
    smaller weight (see `huber_weights`). Producers are re-fitted in the same way, without a residual, to the outputs of
    the kept units in the dense network, because their inputs have changed too. Where the hidden size was cut, all
    readers of the residual stream are re-fitted too, and the norms are re-fitted to the kept coordinates of the dense
    norms' outputs. Where tokens are many, the producers of neurons are re-fitted once more together with their reader
    (see `refit_neurons`). Experts are re-fitted to the tokens that read them in the pruned network (see
    `refit_experts`).

    All passes advance together from step to step, so a repair costs one forward pass of each network, and memory for
    the activations of all inputs at one step. In a process group every process passes its own batches, and all
    processes fit to the sums over all batches.

    Args:
        small: Pruned model, from `apply_plan`.
        dense: Model that it was cut from.
        batches: Tokenised inputs without labels, for example those of `collect`.
        statistics: Statistics of the dense model on these batches, for the token importance; None collects it.
        smoothing: Weight of a token without gradient, as a fraction of the mean; inf weighs all tokens equally.
        ridge: Strength as a fraction of the inputs' mean variance; None chooses it at every step on a quarter of
            the texts, which are held out then.
        producers: Whether to re-fit producers as well as readers.
        neurons: Whether to re-fit the producers of neurons a second time, to reduce the error of their reader (see
            `refit_neurons`); None does so where there are enough tokens. It needs `producers`.
        sites: Names of the sites to re-fit; None means all.
        own: Number of batches before the augmented ones, which repeat these batches in the same order, as from
            `with_augmentations`; an input is held out together with its augmentations. None means all.
        in_place: Whether to re-fit the pruned model itself, which saves the memory of a copy.
        progress: Called with (steps done, steps in all).

    Returns:
        The repaired copy; both given models stay as they are, unless `in_place` asks otherwise.

    Raises:
        InputError: If the statistics are of other batches, a regression is not finite, layers are shared, or the dense
            model has other tokens.

    Examples:
        >>> statistics = collect(model, batches)
        >>> small = apply_plan(model, allocate(rank(statistics, ChannelInformation()), Keep(0.5)), statistics)
        >>> repaired = repair(small, model, batches, statistics=statistics)
        >>> repaired.num_parameters() == small.num_parameters()
        True
    """
    batches = accept(dense, batches)
    statistics = collect_importance(dense, batches, sites=_cut(small, dense)) if statistics is None else statistics

    def wanted(step: RefitStep) -> bool:
        return (producers or step.reads) and (sites is None or step.importance in sites)

    return refit_bottom_up(
        small,
        dense,
        batches,
        chosen=wanted,
        weigh=by_importance(statistics, batches, smoothing),
        fit=partial(_by_ridge, ridge=ridge),
        fisher_at=statistics.fisher_at,
        neurons=neurons,
        huber=True,
        own=own,
        in_place=in_place,
        progress=progress,
    )


def refit_bottom_up(
    small: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    chosen: Callable[[RefitStep], bool],
    weigh: Weigh,
    fit: Fit,
    fisher_at: Callable[[str], Tensor | None] = lambda _: None,
    neurons: bool | None = False,
    huber: bool = False,
    own: int | None = None,
    in_place: bool = False,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Return a copy of the pruned model whose linear modules are re-fitted one by one, from the bottom to the top.

    Args:
        small: Pruned model, from `apply_plan`.
        dense: Model that it was cut from.
        batches: Tokenised inputs.
        chosen: Whether to take a step.
        weigh: Token weights at a step.
        fit: Fits a linear module.
        fisher_at: Fisher information at the reader of a site, for the re-fit of neurons.
        neurons: Whether to re-fit the producers of neurons together with their reader, see `repair`.
        huber: Whether tokens with far longer inputs or errors than the median get smaller weights (`huber_weights`).
        own: Number of batches that are not augmented, see `repair`.
        in_place: Whether to re-fit the pruned model itself.
        progress: Called with (steps done, steps in all).

    Raises:
        InputError: If layers are shared, or the dense model has other tokens.
    """
    check_repairable(find_sites(small))
    check_same_tokens(small, dense)
    modes = [(module, module.training) for module in small.modules()]
    repaired = small if in_place else copy.deepcopy(small)
    repaired.eval()
    steps = {path: step for path, step in refit_steps(repaired, dense).items() if chosen(step)}
    written = {step.neurons[0].module for step in steps.values() if step.neurons and neurons is not False}
    numbers = starts([len(next(iter(batch.values()))) for batch in batches[:own]])
    firsts = [numbers[index % len(numbers)] for index in range(len(batches))]
    groups = find_siblings(repaired, batches, steps)
    with (
        evaluation_mode(dense, repaired),
        Lockstep(dense, batches, [first.dense_point for first, *_ in groups], plain=True) as dense_passes,
        Lockstep(repaired, batches, [first.point for first, *_ in groups]) as passes,
    ):
        done, inputs = 0, dict[str, list[Tensor]]()
        for group in groups:
            paused, wanted = passes.advance(), dense_passes.advance()
            trim_memory()  # of what the passes held in between, before sums are added up
            for step in group:
                samples: Iterable[Samples] = samples_of(step, repaired, dense, paused, wanted, weigh(step), huber)
                if step.module in written:
                    inputs[step.module] = [each.x for each in paused]
                part_inputs = inputs.pop(step.neurons[0].module, None) if step.neurons else None
                if part_inputs is not None:
                    samples = list(samples)
                    if neurons is None and not enough_tokens(part_inputs, samples):
                        part_inputs = None
                fisher = None if part_inputs is None else fisher_at(step.importance)
                passes.resume(_refit(repaired, step, paused, samples, firsts, fit, part_inputs, fisher))
                done += 1
                if progress is not None:
                    progress(done, len(steps))
            del paused, wanted, samples, part_inputs  # what they hold is not held while the passes run on
    for module, (_, training) in zip(repaired.modules(), modes, strict=True):
        module.training = training
    return repaired


def by_importance(statistics: Statistics, batches: Sequence[Batch], smoothing: float) -> Weigh:
    """Return a function that weighs the tokens of the batches by their importance at a step, see `token_weights`.

    Raises:
        InputError: If the statistics are of other batches.
    """
    statistics = statistics.among(batches)

    def weigh(step: RefitStep) -> Sequence[Tensor]:
        masks = [real_tokens(batch, step.stack).cpu() for batch in batches]
        return token_weights(statistics, step.importance, masks, smoothing)

    return weigh


def _cut(small: PreTrainedModel, dense: PreTrainedModel) -> list[Site]:
    """Return the sites of the layers, and those other sites that were cut."""
    always = {site.name for site in find_sites(dense)}
    return [
        site
        for name, site in sites_by_name(dense).items()
        if name in always or len(kept_within(small, dense, name, site.units)) < site.units
    ]


def check_repairable(sites: Collection[Site]) -> None:
    """Raise InputError where one weight serves several layers, which the repair would have to re-fit together."""
    for site in sites:
        if site.shared:
            raise InputError(
                f"{site.reader} is applied several times in a pass, expected a layer of its own for every application: "
                "the repair cannot re-fit it yet; prune with `repair=False`"
            )


def _refit(
    model: PreTrainedModel,
    step: RefitStep,
    paused: Sequence[PausedPass],
    samples: Iterable[Samples],
    firsts: Sequence[int],
    fit: Fit,
    part_inputs: Sequence[Tensor] | None,
    fisher: Tensor | None,
) -> list[Tensor]:
    """Re-fit one module in place; with `part_inputs`, also the producers of its neurons, which read these.

    `fisher` is the Fisher information at the module's output in the dense model, the metric of that second re-fit.

    Returns:
        The tensors with which the passes are resumed.
    """
    if step.norm:
        return refit_norm(model, step.module, list(samples))
    if step.experts is not None:
        outputs = refit_experts(
            model, step.experts, list(samples), [each.y for each in paused], firsts, partial(fit, step)
        )
        return [each.total - each.y + y for each, y in zip(paused, outputs, strict=True)]
    scale = output_scale(model, step.module, step.scale)
    module = linear(model, step.module) if scale is None else linear(model, step.module).scaled(scale)

    inputs = [each.x for each in paused]
    if part_inputs is not None:
        samples = list(samples)
        parts, refit = parts_of(model, step.neurons, step.units), partial(fit, step)
        metric = None if fisher is None else reader_metric(exact(fisher), step.kept_outputs, scale)
        inputs = refit_neurons(model, parts, part_inputs, samples, firsts, module, refit, metric)
    new = ((x, target, weight) for x, (_, target, weight) in zip(inputs, samples, strict=True))
    sums = over_processes(sums_by_part(new, firsts, module.weight))
    trim_memory()  # of the samples, before matrices as large as the sums are factorised
    weight, bias = fit(step, module, sums)
    if not torch.isfinite(weight).all() or not torch.isfinite(bias).all():
        raise InputError(
            f"the regression at {step.module} is not finite, expected finite activations; {remedy(module.weight.dtype)}"
        )
    module.weight.copy_(weight)
    if module.bias is not None:
        module.bias.copy_(bias)
    if scale is not None:
        linear(model, step.module).write_unscaled(module, scale)
    return inputs


def _by_ridge(
    step: RefitStep, module: LinearMap, parts: Sequence[Sums], *, ridge: float | None
) -> tuple[Tensor, Tensor]:
    return fit_ridge(parts, exact(module.weight), ridge=ridge, intercept=module.bias is not None)
