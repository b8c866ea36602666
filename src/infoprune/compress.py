"""Compress: the whole flow in one call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget
from infoprune.budgets.shape import Shape, uniform_kinds, uniform_shape
from infoprune.clock import Clock, StageProgress
from infoprune.errors import InputError
from infoprune.plan import LAYER_WIDTH, Plan, plan_of
from infoprune.processes import process_count, total
from infoprune.ranking.criteria import ChannelInformation, Criterion, PairedCriterion
from infoprune.repair.repair import check_repairable
from infoprune.reports.report import Report, describe
from infoprune.rounds import Rounds
from infoprune.schedule import schedule
from infoprune.settings import Settings
from infoprune.statistics.calibration import Batch, check_batches, typical_shape, warn_few_tokens, with_targets
from infoprune.statistics.statistics import Statistics
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites
from infoprune.tasks.table import task_of
from infoprune.training.distill import Recovery


@dataclass(frozen=True)
class Result:
    """A smaller model, what was kept of it, and what that cost."""

    model: PreTrainedModel
    plan: Plan
    report: Report


def compress(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    keep: float | None = None,
    budget: Budget | None = None,
    criterion: Criterion | None = None,
    sites: Collection[str] | None = None,
    settings: Settings | None = None,
    recovery: Recovery | None = None,
    statistics: Statistics | None = None,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> Result:
    """Prunes a model: collect, rank, allocate, prune, repair and, if asked, distill, in rounds.

    In a torch.distributed process group every process passes its own batches, and all get the same model.

    Args:
        model: of a supported family; it is left as it is.
        batches: tokenised calibration inputs; labels are not needed.
        keep: share of the units of every site that stays; 0.5 where there is no budget either.
        budget: what the smaller model may cost, instead of `keep`; the sizes of the sites are then chosen.
        criterion: what chooses the units; `ChannelInformation()` by default.
        sites: kinds of site to cut, for example ("ffn", "heads"); by default all in the layers, and with the shape
            "uniform" the width too where a stock config wants it to go with the heads.
        settings: rounds, refresh and repair; `Settings()` by default.
        recovery: inputs to distill on, and how; no training by default. Its epochs are divided among the rounds.
        statistics: of this model, to choose the units of the first round by; the batches are then for the repair and
            for later rounds, and may be others. None collects them from the batches.
        seed: of everything that draws.
        progress: called with (stage, done, of).

    Raises:
        InputError: something about the model, the inputs or the options is wrong; the message says what to do.

    Example:
        >>> result = infoprune.compress(model, batches, keep=0.5)
        >>> result.report.kept["layers.0.ffn"]
        (768, 1536)
        >>> result = infoprune.compress(model, batches, budget=Budget("flops", 0.4))
        >>> result.report.pruned.flops / result.report.dense.flops
        0.4
    """
    criterion = criterion or ChannelInformation()
    settings = settings or Settings()
    check_batches(batches)
    task_of(model)  # raises before the work, not after it
    sites, shape = shape_of(model, sites, settings)
    targets = find_sites(model, sites)
    _check(targets, criterion, settings, budget, recovery, statistics)
    batches = with_targets(model, batches)
    if statistics is None:
        warn_few_tokens(targets, batches)
    clock = Clock(progress)
    with clock.stage("measure") as report:
        goal = schedule(
            model, batches, criterion, keep, budget, kinds=sites, parts=settings.rounds, shape=shape, progress=report
        )
    rounds = Rounds(model, batches, sites, criterion, goal, settings, seed, clock, statistics)
    for part in range(settings.rounds):
        rounds.choose(part)
        rounds.cut()
        if settings.repair:
            rounds.repair(last=part + 1 == settings.rounds)
        if recovery is not None:
            rounds.train(recovery)
    plan = plan_of(rounds.small) or rounds.plan
    return Result(rounds.small, plan, _described(rounds, plan, statistics))


def shape_of(
    model: PreTrainedModel, kinds: Collection[str] | None, settings: Settings
) -> tuple[Collection[str] | None, Shape | None]:
    """The kinds of site that the settings let a cut have, and the sizes that it may choose among; None for any.

    Raises:
        InputError: plain transformers cannot be told of such a cut, and the settings ask for it.
    """
    if settings.shape == "free":
        return kinds, None
    together = uniform_kinds(model, kinds)
    return together, uniform_shape(model, together)


def _check(
    sites: Sequence[Site],
    criterion: Criterion,
    settings: Settings,
    budget: Budget | None,
    recovery: Recovery | None,
    statistics: Statistics | None,
) -> None:
    """Raises InputError where the settings do not fit what is asked for."""
    if settings.shape == "uniform" and budget is not None and budget.depth:
        raise InputError(
            "shape uniform and depth were asked for, but no stock config can say that a block is left out; "
            "leave depth out, or use shape free"
        )
    stream = next((site.kind for site in sites if site.streams), None)
    if isinstance(criterion, PairedCriterion) and stream is not None:
        raise InputError(
            f"criterion {criterion.name!r} looks at one site above another, and the width is read everywhere, expected "
            f"a criterion that does not; leave {stream} out of sites, or use criterion 'information'"
        )
    if stream == LAYER_WIDTH and (settings.rounds > 1 or settings.refresh == "site"):
        raise InputError(
            f"{LAYER_WIDTH} was asked for with rounds {settings.rounds} and refresh {settings.refresh!r}, expected one "
            "round: the layers' widths depend on one another and are chosen together; leave rounds and refresh out"
        )
    if settings.repair:
        check_repairable(sites)
    if budget is not None and settings.refresh == "site":
        raise InputError(
            "refresh 'site' looks at one site at a time, but a budget needs the losses of all; use refresh 'round'"
        )
    if settings.memory is not None and isinstance(criterion, PairedCriterion):
        raise InputError(
            f"criterion {criterion.name!r} keeps the statistics of all sites in memory, so its use cannot be limited; "
            "leave the memory out, or use criterion 'information'"
        )
    if statistics is not None and (settings.refresh == "site" or isinstance(criterion, PairedCriterion)):
        raise InputError(
            f"statistics were given, but criterion {criterion.name!r} with refresh {settings.refresh!r} has to see "
            "more of the model; leave them out, or use criterion 'information' with refresh 'round'"
        )
    if recovery is not None and process_count() > 1:
        raise InputError(
            f"{process_count()} processes were to distill, expected one; cut the model with several and train it "
            "after that (infoprune finetune --teacher)"
        )


def _described(rounds: Rounds, plan: Plan, given: Statistics | None) -> Report:
    (inputs,) = total(sum(len(next(iter(batch.values()))) for batch in rounds.batches))
    return describe(
        rounds.dense,
        rounds.small,
        plan,
        samples=inputs if given is None else given.inputs,
        shape=typical_shape(rounds.batches, rounds.dense.config),
        seconds=rounds.clock.seconds(),
        curves=rounds.curves,
    )
