"""Search: find the smallest model whose loss on evaluation inputs is within a limit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.shape import Shape
from infoprune.errors import InputError
from infoprune.pipeline.allowance import allowance
from infoprune.pipeline.clock import Clock, StageProgress
from infoprune.pipeline.options import shape_of
from infoprune.pipeline.result import Result
from infoprune.pipeline.settings import EFFORTS, Settings
from infoprune.pipeline.size import DEFAULT, MaxLoss
from infoprune.plan import Plan, plan_of
from infoprune.processes import process_count
from infoprune.ranking.criteria import ChannelInformation, Criterion, PairedCriterion
from infoprune.ranking.rank import Rankings, rank
from infoprune.repairing.augmentation import with_augmentations
from infoprune.repairing.repair import repair
from infoprune.reports.report import compared, describe
from infoprune.statistics.calibration import Batch, Progress, typical_shape
from infoprune.statistics.collect import collect, collect_importance
from infoprune.statistics.statistics import Statistics
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.tasks.compare import Comparison, between
from infoprune.tasks.evaluate import Evaluation, evaluate

PROBES = 5
"""Most models that are cut and evaluated; with the dense one this makes six evaluations."""

NARROW = 0.01
"""The search ends where the bounds are closer than this share of the dense cost."""


def search(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    eval_batches: Sequence[Batch],
    max_loss: MaxLoss,
    *,
    quantity: str = "flops",
    criterion: Criterion | None = None,
    structures: Collection[str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    reference: Evaluation | None = None,
    statistics: Statistics | None = None,
    progress: StageProgress | None = None,
) -> Result:
    """Find the cheapest model whose loss on the evaluation inputs is within a limit.

    Statistics and rankings are computed once. Then at most 5 models are cut, repaired and evaluated. Each size lies
    between the known bounds and is chosen on the assumption that the loss is proportional to the predicted nats, with
    the factor of the last model.

    Args:
        model: A model of a supported family; it is not changed.
        batches: Calibration inputs, as for `prune`.
        eval_batches: Evaluation inputs, with labels unless the metric is "kl".
        max_loss: Largest loss on the evaluation inputs.
        quantity: Cost to minimise: "flops", "params", "bytes" or "latency".
        criterion: Criterion that ranks the units; `ChannelInformation()` by default.
        structures: Types of structure to cut.
        settings: Settings of statistics and repair; the search cuts in one round.
        seed: Seed of everything that is random.
        reference: Evaluation from which the losses are counted; that of the model by default.
        statistics: Statistics of this model, by which the units are ranked; None collects them from the batches.
        progress: Called with (stage, done, of).

    Returns:
        The smallest tried model within the limit, its plan and a report.

    Raises:
        InputError: No tried model is within the limit, an argument is wrong, or there are several processes.

    Examples:
        >>> search(model, batches, eval_batches, MaxLoss("kl", 0.5)).report.kl <= 0.5
        True
    """
    clock = Clock(progress)
    criterion, settings = criterion or ChannelInformation(), settings or Settings()
    _check(criterion)
    dense = reference or evaluate(model, eval_batches)
    max_loss.of(dense, dense)  # raises before the work where the inputs do not give the metric
    structures, shape = shape_of(model, structures, settings)
    costs = find_costs(model, quantity, batches, structures=structures)
    with clock.stage("collect") as report:
        sites = find_sites(model, structures)
        known = _collected(model, batches, sites, statistics, settings, seed, report)
    with clock.stage("rank"):
        rankings = rank(known.chosen_by, criterion, seed=seed)
    bounds = _Bounds(costs.least / costs.dense, 1.0)
    best: Result | None = None
    with clock.stage("search") as report:
        for probe in range(PROBES):
            share = bounds.next(rankings, costs, max_loss, shape)
            plan = allocate(rankings, Budget(quantity, share), costs, shape)
            small = _cut(model, plan, known, settings)
            answers = evaluate(small, eval_batches)
            lost = max_loss.of(dense, answers)
            if lost <= max_loss.most:
                best = _described(model, small, plan, known, batches, rankings.curves(), between(dense, answers))
            bounds = bounds.after(share, lost, plan.nats_lost, held=lost <= max_loss.most)
            if report is not None:
                report(probe + 1, PROBES)
            if bounds.high - bounds.low < NARROW:
                break
        if report is not None:
            report(PROBES, PROBES)
    if best is None:
        raise InputError(
            f"no smaller model loses at most {max_loss.metric}={max_loss.most:g}: at {bounds.low:.1%} of the "
            f"{quantity} the loss is {lost:.3g}; allow more, or pass more calibration texts"
        )
    return replace(best, report=replace(best.report, seconds=clock.seconds()))


def _check(criterion: Criterion) -> None:
    if isinstance(criterion, PairedCriterion):
        raise InputError(
            f"criterion {criterion.name!r} ranks anew for every size, but a search ranks once; "
            "pass `criterion=information`"
        )
    if process_count() > 1:
        raise InputError(f"{process_count()} processes were to search, expected one; pass `budget`, or use one process")


@dataclass(frozen=True)
class _Known:
    """Statistics and inputs that all models of a search share.

    Args:
        chosen_by: Statistics by which the units are ranked.
        batches: Inputs of the repair: the calibration inputs, augmented where they are few.
        own: How many of the batches are the calibration inputs themselves.
        importance: Statistics with the token importance of the inputs of the repair.
    """

    chosen_by: Statistics
    batches: Sequence[Batch]
    own: int
    importance: Statistics


def _cut(model: PreTrainedModel, plan: Plan, known: _Known, settings: Settings) -> PreTrainedModel:
    small = apply_plan(model, plan, known.chosen_by)
    if not settings.repair:
        return small
    return repair(
        small,
        model,
        known.batches,
        statistics=known.importance,
        smoothing=settings.smoothing,
        ridge=settings.ridge,
        producers=settings.producers,
        neurons=EFFORTS[settings.effort],
        own=known.own,
    )


def _described(
    model: PreTrainedModel,
    small: PreTrainedModel,
    plan: Plan,
    known: _Known,
    batches: Sequence[Batch],
    curves: dict[str, tuple[float, ...]],
    comparison: Comparison,
) -> Result:
    carried = plan_of(small) or plan
    shape = typical_shape(batches, model.config)
    samples = known.chosen_by.inputs
    report = describe(model, small, carried, samples=samples, shape=shape, seconds={}, curves=curves)
    return Result(small, carried, compared(report, comparison))


def _collected(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    sites: Sequence[Site],
    given: Statistics | None,
    settings: Settings,
    seed: int,
    progress: Progress | None,
) -> _Known:
    allowed = allowance(
        model,
        batches,
        settings.memory,
        DEFAULT,
        structures=sorted({site.structure for site in sites}),
        repairs=settings.repair,
        augmentations=settings.augmentations,
    )
    if given is None:
        given = collect(
            model,
            batches,
            sites=sites,
            smoothing=settings.smoothing,
            shrinkage=settings.shrinkage,
            seed=seed,
            memory=allowed.graph,
            progress=progress,
        )
    given = given.of_sites([each.name for site in sites for each in site.measured])
    if not settings.repair:
        return _Known(given, batches, len(batches), given)
    importance, own = given, allowed.for_repair(batches)
    if not given.covers(own):
        importance = collect_importance(model, own, sites=sites, seed=seed, memory=allowed.graph, progress=progress)
    augmented, importance = with_augmentations(
        model,
        own,
        importance,
        settings.augmentations,
        sites=sites,
        seed=seed,
        memory=allowed.graph,
        progress=progress,
    )
    return _Known(given, augmented, len(own), importance)


@dataclass(frozen=True)
class _Bounds:
    """Known bounds of the share of the cost that the loss permits.

    Args:
        low: A share that is too small, or the smallest possible one.
        high: A share that is enough.
        factor: Measured loss per predicted nat of the last model; None where it is not defined.
    """

    low: float
    high: float
    factor: float | None = None

    def next(self, rankings: Rankings, costs: Costs, max_loss: MaxLoss, shape: Shape | None = None) -> float:
        """Return the share to try: where the predicted loss equals the largest one, well between the bounds."""
        factor = 1.0 if max_loss.metric == "kl" and self.factor is None else self.factor
        if factor is None or not rankings.nats:
            return (self.low + self.high) / 2
        low, high = self.low, self.high
        for _ in range(12):
            middle = (low + high) / 2
            lost = allocate(rankings, Budget(costs.quantity, middle), costs, shape).nats_lost or 0.0
            low, high = (low, middle) if factor * lost <= max_loss.most else (middle, high)
        margin = (self.high - self.low) / 5
        return min(max(high, self.low + margin), self.high - margin)

    def after(self, share: float, lost: float, predicted: float | None, *, held: bool) -> _Bounds:
        """Return the bounds after a model of this share was tried."""
        factor = lost / predicted if predicted and lost > 0 else None
        return _Bounds(self.low, share, factor) if held else _Bounds(share, self.high, factor)
