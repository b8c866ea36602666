"""Compress: the whole flow in one call, in rounds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedModel

from infoprune.allocate import allocate
from infoprune.budget import Budget
from infoprune.calibration import Batch, Progress, typical_shape, warn_few_tokens, with_targets
from infoprune.collect import collect
from infoprune.collect_pairs import collect_pairs
from infoprune.criteria import ChannelInformation, Criterion, PairedCriterion
from infoprune.distill import Recovery, distill
from infoprune.errors import InputError
from infoprune.plan import Plan, plan_of
from infoprune.rank import Rankings, rank
from infoprune.repair import check_repairable
from infoprune.repair import repair as repair_readers
from infoprune.report import Report, describe, task_of
from infoprune.schedule import Schedule, schedule
from infoprune.sites import Site, find_sites
from infoprune.statistics import Statistics
from infoprune.surgery import prune

StageProgress = Callable[[str, int, int], None]
Refresh = Literal["site", "round", "never"]


@dataclass(frozen=True)
class Result:
    """A smaller model, what was kept of it, and what that cost."""

    model: PreTrainedModel
    plan: Plan
    report: Report


@dataclass(frozen=True)
class Settings:
    """How `compress` goes about it; docs/ablation.md shows what each choice buys.

    Args:
        rounds: in how many parts the units are chosen; after each part the dense model is cut and repaired, and the
            next part looks at the result. With recovery it is trained too, and the next part cuts what came of that.
        refresh: when the demand is taken anew through what has been cut above: before every "site" (one more pass per
            site), before every "round", or "never" (every round follows the first ranking).
        repair: re-fit the readers bottom-up after each part.
        ridge: of that repair; None lets cross-validation choose.
        producers: let the repair re-fit producers as well as readers.
        floor: token weight of a token without gradient, in the moments and in the repair.
        shrinkage: ridge of the covariances that the units are chosen by.

    Raises:
        InputError: a setting is out of range.
    """

    rounds: int = 1
    refresh: Refresh = "round"
    repair: bool = True
    ridge: float | None = None
    producers: bool = True
    floor: float = 3.0
    shrinkage: float = 1e-2

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"rounds is {self.rounds}, expected at least 1; 1 is a good choice")
        if self.refresh not in ("site", "round", "never"):
            raise InputError(f"refresh is {self.refresh!r}, expected 'site', 'round' or 'never'")


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
    seed: int = 0,
    progress: StageProgress | None = None,
) -> Result:
    """Prunes a model: collect, rank, allocate, prune, repair and, if asked, distill, in rounds.

    Args:
        model: of a supported family; it is left as it is.
        batches: tokenised calibration inputs; labels are not needed.
        keep: share of the units of every site that stays; 0.5 where there is no budget either.
        budget: what the smaller model may cost, instead of `keep`; the sizes of the sites are then chosen.
        criterion: what chooses the units; `ChannelInformation()` by default.
        sites: kinds of site to cut, for example ("ffn", "heads"); all that the family has by default.
        settings: rounds, refresh and repair; `Settings()` by default.
        recovery: inputs to distill on, and how; no training by default. Its epochs are divided among the rounds.
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
    task_of(model)  # raises before the work, not after it
    targets = find_sites(model, sites)
    units = {site.name: site.units for site in targets}
    _check(targets, settings, budget)
    batches = with_targets(model, batches)
    warn_few_tokens(targets, batches)
    clock = _Clock(progress)
    with clock.stage("measure") as report:
        goal = schedule(model, batches, criterion, keep, budget, kinds=sites, parts=settings.rounds, progress=report)
    small = base = model
    plan = since = Plan.of_everything(model.config.model_type, units, criterion.name, seed)
    whole: Statistics | None = None
    rankings: Rankings | None = None
    for part in range(settings.rounds):
        groups = _groups(list(units), settings.refresh)
        current = small
        if part > 0 and recovery is not None:  # cutting the dense model anew would lose what the training has won
            base, since, whole = small, plan.after(), None
        for names in groups:
            if rankings is not None and settings.refresh == "never":
                left = rankings.among(plan)
                step = allocate(left, goal.after(part, left))
                plan, since = plan.then(step), since.then(step)
                continue
            with clock.stage("collect") as report:
                statistics = collect(
                    current,
                    batches,
                    sites=[site for site in find_sites(current) if site.name in names],
                    floor=settings.floor,
                    ridge=settings.shrinkage,
                    seed=seed,
                    progress=report,
                )
            rankings = _ranked(current, batches, statistics, criterion, goal, part, seed, clock)
            with clock.stage("rank"):
                step = allocate(rankings, goal.after(part, rankings))
                plan, since = plan.then(step), since.then(step)
                if len(groups) > 1:
                    current = prune(current, step, statistics)
            # what is below a site is still whole when its turn comes, so these are of the model that is cut
            if part == 0 or recovery is not None:
                whole = statistics if whole is None else whole.joined(statistics)
        # without training always cut from the dense model: a repair of an earlier repair fits the same texts twice
        with clock.stage("rank"):
            small = prune(base, since, whole)
        if part + 1 == settings.rounds and whole is not None:
            whole = statistics = whole.worth_alone()  # the moments have served; the repair needs their memory
        if settings.repair:
            with clock.stage("repair") as report:
                small = repair_readers(
                    small,
                    model,
                    batches,
                    statistics=whole,
                    floor=settings.floor,
                    ridge=settings.ridge,
                    producers=settings.producers,
                    progress=report,
                )
        if recovery is not None:
            with clock.stage("distill") as report:
                small = distill(
                    small,
                    model,
                    recovery.batches,
                    how=recovery.how.part_of(settings.rounds),
                    seed=seed,
                    folder=recovery.folder,
                    progress=report,
                ).model
    carried = plan_of(small) or plan
    return Result(small, carried, _described(model, small, carried, batches, clock))


def _check(sites: Sequence[Site], settings: Settings, budget: Budget | None) -> None:
    """Raises InputError where the settings fit neither the sites nor the budget."""
    if settings.repair:
        check_repairable(sites)
    if budget is not None and settings.refresh == "site":
        raise InputError(
            "refresh 'site' looks at one site at a time, but a budget needs the losses of all; use refresh 'round'"
        )


def _described(
    model: PreTrainedModel, small: PreTrainedModel, plan: Plan, batches: Sequence[Batch], clock: _Clock
) -> Report:
    inputs = sum(len(next(iter(batch.values()))) for batch in batches)
    shape = typical_shape(batches, model.config)
    return describe(model, small, plan, samples=inputs, shape=shape, seconds=clock.seconds())


def _ranked(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    criterion: Criterion,
    goal: Schedule,
    part: int,
    seed: int,
    clock: _Clock,
) -> Rankings:
    """Rankings, for which a criterion may have to see more of the model; that is forgotten again."""
    budget = None
    if isinstance(criterion, PairedCriterion):
        budget = goal.beforehand(part, {name: site.site.units for name, site in statistics.sites.items()})
        with clock.stage("collect") as report:
            statistics = collect_pairs(model, batches, statistics, criterion.pairing, seed=seed, progress=report)
    with clock.stage("rank") as report:
        return rank(statistics, criterion, budget=budget, seed=seed, progress=report)


def _groups(names: list[str], refresh: Refresh) -> list[list[str]]:
    """Sites that share a pass: all of them, or one at a time from the top."""
    return [[name] for name in reversed(names)] if refresh == "site" else [names]


class _Clock:
    """Seconds by stage, and each stage's own progress callback."""

    def __init__(self, progress: StageProgress | None) -> None:
        self._progress = progress
        self._spent: dict[str, float] = defaultdict(float, collect=0.0, rank=0.0, repair=0.0, distill=0.0)
        self._started = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress | None]:
        started, progress = time.perf_counter(), self._progress
        yield None if progress is None else lambda done, of: progress(name, done, of)
        self._spent[name] += time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        return {**self._spent, "total": time.perf_counter() - self._started}
