"""Search: the smallest model that is still good enough on evaluation inputs."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from transformers import PreTrainedModel

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.shape import Shape
from infoprune.clock import StageProgress
from infoprune.compress import Result, shape_of
from infoprune.errors import InputError
from infoprune.plan import plan_of
from infoprune.processes import process_count
from infoprune.ranking.criteria import ChannelInformation, Criterion, PairedCriterion
from infoprune.ranking.rank import Rankings, rank
from infoprune.repair.copies import with_copies
from infoprune.repair.repair import repair
from infoprune.reports.report import compared, describe
from infoprune.settings import Settings
from infoprune.statistics.calibration import Batch, Progress, typical_shape
from infoprune.statistics.collect import collect, collect_worth
from infoprune.statistics.statistics import Statistics
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites
from infoprune.surgery import prune
from infoprune.tasks.compare import between
from infoprune.tasks.evaluate import Evaluation, evaluate

PROBES = 5
"""Models that are made and evaluated; with the dense one this makes six evaluations."""

NARROW = 0.01
"""The search ends where the answer is known to so much of the dense cost."""

POINTS = ("accuracy", "macro_f1", "micro_f1")


@dataclass(frozen=True)
class Tolerance:
    """How much worse a smaller model may be on the evaluation inputs.

    Args:
        metric: "kl", the mean KL divergence from the dense model's answers, which needs no labels; or "accuracy",
            "macro_f1", "micro_f1".
        most: nats an input for "kl"; points (hundredths) that the others may fall.

    Raises:
        InputError: the metric is not known, or the number is not above 0.

    Example:
        >>> Tolerance("accuracy", 0.5)
    """

    metric: str
    most: float

    def __post_init__(self) -> None:
        if self.metric not in ("kl", *POINTS):
            raise InputError(f"no search for {self.metric!r}, expected one of: kl, {', '.join(POINTS)}")
        if not (self.most > 0 and math.isfinite(self.most)):
            raise InputError(
                f"a loss of {self.metric}={self.most:g} was allowed, expected a number above 0; "
                f"pass e.g. {'kl=0.05' if self.metric == 'kl' else f'{self.metric}=0.5 for half a point'}"
            )

    def loss(self, dense: Evaluation, small: Evaluation) -> float:
        """What the small model has lost, in the unit of `most`.

        Raises:
            InputError: the inputs have no labels that give this metric, or the answers no KL divergence.
        """
        if self.metric == "kl":
            lost = between(dense, small).kl
            if lost is None:
                raise InputError("answers that are numbers have no kl, expected a choice of classes; pass a budget")
            return lost
        if self.metric not in dense.metrics:
            there = ", ".join(("kl", *dense.metrics))
            raise InputError(f"the evaluation inputs give no {self.metric}, expected one of: {there}")
        return 100 * (dense.metrics[self.metric] - small.metrics[self.metric])


def search(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    questions: Sequence[Batch],
    tolerance: Tolerance,
    *,
    quantity: str = "flops",
    criterion: Criterion | None = None,
    sites: Collection[str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    reference: Evaluation | None = None,
    statistics: Statistics | None = None,
    progress: StageProgress | None = None,
) -> Result:
    """The cheapest model that loses no more than it may on the evaluation inputs.

    Statistics and rankings are taken once. Then at most 5 models are cut, repaired and evaluated: the losses are taken
    to be proportional to the predicted nats, by what the model before has lost, within the bounds that are known.

    Args:
        model: of a supported family; it is left as it is.
        batches: calibration inputs, as for `compress`.
        questions: evaluation inputs, with labels unless the tolerance is in KL.
        tolerance: what may be lost there.
        quantity: that is to be small: "flops", "params", "bytes" or "latency".
        criterion: what chooses the units; `ChannelInformation()` by default.
        sites: kinds of site to cut.
        settings: of statistics and repair; the search cuts in one round.
        seed: of everything that draws.
        reference: answers from which the losses are counted; those of the model by default.
        statistics: of this model, to choose the units by; None collects them from the batches.
        progress: called with (stage, done, of).

    Raises:
        InputError: no smaller model that was tried is good enough, an argument is wrong, or there are several
            processes.

    Example:
        >>> search(model, batches, valid, Tolerance("accuracy", 0.5)).report.pruned.flops
        1100152832
    """
    started = time.perf_counter()
    criterion, settings = criterion or ChannelInformation(), settings or Settings()
    if isinstance(criterion, PairedCriterion):
        raise InputError(
            f"criterion {criterion.name!r} ranks anew for every size, a search ranks once; use criterion 'information'"
        )

    if process_count() > 1:
        raise InputError(f"{process_count()} processes were to search, expected one; pass a budget, or use one process")

    def step(stage: str, done: int, of: int) -> None:
        if progress is not None:
            progress(stage, done, of)

    dense = reference or evaluate(model, questions)
    tolerance.loss(dense, dense)
    sites, shape = shape_of(model, sites, settings)
    costs = find_costs(model, quantity, batches, kinds=sites)
    chosen = find_sites(model, sites)
    known = _known(model, batches, chosen, statistics, settings, seed, partial(step, "collect"))
    statistics, texts, worth = known
    rankings = rank(statistics, criterion, seed=seed)
    ready = time.perf_counter()
    bounds = _Bounds(costs.least / costs.dense, 1.0)
    best: Result | None = None
    for probe in range(PROBES):
        share = bounds.next(rankings, costs, tolerance, shape)
        plan = allocate(rankings, Budget(quantity, share), costs, shape)
        small = prune(model, plan, statistics)
        if settings.repair:
            small = repair(
                small,
                model,
                texts,
                statistics=worth,
                floor=settings.floor,
                ridge=settings.ridge,
                producers=settings.producers,
                own=len(batches),
            )
        answers = evaluate(small, questions)
        lost = tolerance.loss(dense, answers)
        if lost <= tolerance.most:
            carried, inputs = plan_of(small) or plan, statistics.inputs
            report = describe(
                model,
                small,
                carried,
                samples=inputs,
                shape=typical_shape(batches, model.config),
                seconds={},
                curves=rankings.curves(),
            )
            best = Result(small, carried, compared(report, between(dense, answers)))
        bounds = bounds.after(share, lost, plan.nats_lost, held=lost <= tolerance.most)
        step("search", probe + 1, PROBES)
        if bounds.high - bounds.low < NARROW:
            break
    step("search", PROBES, PROBES)
    if best is None:
        raise InputError(
            f"no smaller model loses at most {tolerance.metric}={tolerance.most:g}: at {bounds.low:.1%} of the "
            f"{quantity} it is {lost:.3g}; allow more, or pass more calibration texts"
        )
    ended = time.perf_counter()
    seconds = {"collect": ready - started, "search": ended - ready, "distill": 0.0, "total": ended - started}
    return replace(best, report=replace(best.report, seconds=seconds))


def _known(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    sites: Sequence[Site],
    given: Statistics | None,
    settings: Settings,
    seed: int,
    progress: Progress,
) -> tuple[Statistics, Sequence[Batch], Statistics]:
    """Statistics to choose by, inputs to repair with, and statistics with the worth of their tokens."""
    if given is None:
        floor, ridge, memory = settings.floor, settings.shrinkage, settings.memory
        given = collect(
            model, batches, sites=sites, floor=floor, ridge=ridge, seed=seed, memory=memory, progress=progress
        )
    given = given.of_sites([each.name for site in sites for each in site.measured])
    if not settings.repair:
        return given, batches, given
    worth = given
    if not given.covers(batches):
        worth = collect_worth(model, batches, sites=sites, seed=seed, progress=progress)
    texts, worth = with_copies(model, batches, worth, settings.copies, sites=sites, seed=seed, progress=progress)
    return given, texts, worth


@dataclass(frozen=True)
class _Bounds:
    """What is known of the share of the cost that is needed.

    Args:
        low: a share that is too small, or the smallest there is.
        high: a share that is enough.
        factor: measured loss per predicted nat in the last model; None where that says nothing.
    """

    low: float
    high: float
    factor: float | None = None

    def next(self, rankings: Rankings, costs: Costs, tolerance: Tolerance, shape: Shape | None = None) -> float:
        """The share to try: where the predicted loss is what may be lost, well between the bounds."""
        factor = 1.0 if tolerance.metric == "kl" and self.factor is None else self.factor
        if factor is None or not rankings.nats:
            return (self.low + self.high) / 2
        low, high = self.low, self.high
        for _ in range(12):
            middle = (low + high) / 2
            lost = allocate(rankings, Budget(costs.quantity, middle), costs, shape).nats_lost or 0.0
            low, high = (low, middle) if factor * lost <= tolerance.most else (middle, high)
        margin = (self.high - self.low) / 5
        return min(max(high, self.low + margin), self.high - margin)

    def after(self, share: float, lost: float, predicted: float | None, *, held: bool) -> _Bounds:
        """The bounds after a model of this share was tried."""
        factor = lost / predicted if predicted and lost > 0 else None
        return _Bounds(self.low, share, factor) if held else _Bounds(share, self.high, factor)
