"""Prune: the whole flow in one call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget
from infoprune.errors import InputError
from infoprune.pipeline.allowance import allowance
from infoprune.pipeline.clock import Clock, StageProgress
from infoprune.pipeline.options import check_options, shape_of
from infoprune.pipeline.result import Result
from infoprune.pipeline.rounds import Rounds
from infoprune.pipeline.search import search
from infoprune.pipeline.settings import Settings
from infoprune.pipeline.size import MaxLoss, check_trained, size_for, size_of
from infoprune.pipeline.size_schedule import size_schedule
from infoprune.pipeline.training import Training
from infoprune.plan import Plan, plan_of
from infoprune.processes import total
from infoprune.ranking.criteria import Criterion, criterion_named
from infoprune.reports.report import Report, describe
from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import (
    Batch,
    check_batches,
    check_gradients_pass,
    typical_shape,
    warn_few_tokens,
    with_targets,
)
from infoprune.statistics.statistics import Statistics
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.plain import on_plain_model
from infoprune.structure.sites import find_sites
from infoprune.tasks.table import check_distillable, task_of
from infoprune.training.distill import Distillation


@in_ordinary_mode
@on_plain_model
def prune(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    keep: float | None = None,
    budget: Budget | str | None = None,
    max_loss: MaxLoss | str | None = None,
    max_kl: float | None = None,
    eval_batches: Sequence[Batch] | None = None,
    structures: Collection[str] | None = None,
    criterion: Criterion | str = "information",
    settings: Settings | None = None,
    distill: Distillation | float | None = None,
    distill_batches: Sequence[Batch] | None = None,
    checkpoints: Path | None = None,
    statistics: Statistics | None = None,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> Result:
    """Prune a model: collect statistics, rank the units, choose the sizes, cut, repair and, if asked, distill.

    One of `keep`, `budget`, `max_loss` and `max_kl` specifies the size of the result; by default it has half of the
    FLOPs, or half of the parameters where experts are cut. In a torch.distributed process group every process passes
    its own batches, and all get the same model.

    Args:
        model: A model of a supported family; it is not changed.
        batches: Tokenised calibration inputs, as from `make_batches`; labels are not needed.
        keep: Share of the units of every site that stays.
        budget: Largest cost of the result, e.g. "flops=0.4", "params=10M" or a `Budget`; the size of every layer is
            chosen to meet it.
        max_loss: Largest loss of the result on `eval_batches`, e.g. "accuracy=0.5" for half a point; `prune` searches
            for the smallest model that loses no more.
        max_kl: Largest KL divergence from the model's outputs, in nats per input; it needs no labels.
        eval_batches: Inputs to measure `max_loss` or `max_kl` on.
        structures: Types of structure to cut, some of "ffn", "heads", "cross-heads", "experts", "expert-neurons",
            "pooler", "hidden-size" and "hidden-size-per-layer". By default all neurons, heads and experts, and with
            the shape "uniform" the hidden size too, where a stock config ties it to the heads.
        criterion: Criterion that ranks the units, or its name.
        settings: Rounds, repair and shape; `Settings()` by default.
        distill: Distill the result from the model: a number of epochs, or a `Distillation`. Its epochs are divided
            among the rounds.
        distill_batches: Inputs to train on; the calibration inputs by default.
        checkpoints: Folder for checkpoints of the training, so that the same call resumes it.
        statistics: Statistics of this model, as from `collect`, by which the first round ranks the units; the batches
            are then for the repair and for later rounds, and may differ from those of the statistics.
        seed: Seed of everything that is random.
        progress: Called with (stage, done, of).

    Returns:
        The smaller model, its plan and a report.

    Raises:
        InputError: The model, the inputs or the options are wrong; the message gives the remedy.

    Examples:
        >>> result = infoprune.prune(model, batches, budget="flops=0.5")
        >>> result.report.pruned.flops <= 0.5 * result.report.dense.flops
        True
        >>> infoprune.prune(model, batches, keep=0.5).plan.counts["layers.0.ffn"]
        (32, 64)
    """
    criterion = criterion_named(criterion) if isinstance(criterion, str) else criterion
    settings = settings or Settings()
    check_gradients_pass(model)
    batches = accept(model, batches)
    eval_batches = None if eval_batches is None else accept(model, eval_batches)
    distill_batches = batches if distill_batches is None else accept(model, distill_batches)
    training = None if distill is None else Training.of(distill, distill_batches or batches, checkpoints)
    size = size_of(keep, budget, max_loss, max_kl)
    check_trained(size, training is not None)
    if training is not None:
        check_distillable(task_of(model))
    if isinstance(size, MaxLoss):
        if not eval_batches:
            raise InputError("a largest loss needs inputs to measure it on, expected some; pass `eval_batches`")
        return search(
            model,
            batches,
            eval_batches,
            size,
            criterion=criterion,
            structures=structures,
            settings=settings,
            seed=seed,
            statistics=statistics,
            progress=progress,
        )
    check_batches(batches)
    task_of(model)  # raises before the work, not after it
    structures, shape = shape_of(model, structures, settings)
    sites = find_sites(model, structures)
    size = size_for(size, sites)
    check_options(sites, criterion, settings, size, training, statistics)
    batches = with_targets(model, batches)
    if statistics is None:
        warn_few_tokens(sites, batches)
    clock = Clock(progress)
    with clock.stage("measure") as report:
        goal = size_schedule(
            model,
            batches,
            criterion,
            size,
            structures=structures,
            parts=settings.rounds,
            shape=shape,
            progress=report,
        )
    allowed = allowance(
        model,
        batches,
        settings.memory,
        size,
        structures=structures,
        repairs=settings.repair,
        augmentations=settings.augmentations,
    )
    rounds = Rounds(model, batches, structures, criterion, goal, settings, seed, clock, statistics, allowed)
    for part in range(settings.rounds):
        rounds.choose(part)
        rounds.cut()
        if settings.repair:
            rounds.repair(last=part + 1 == settings.rounds)
        if training is not None:
            rounds.train(training)
    plan = plan_of(rounds.small) or rounds.plan
    return Result(rounds.small, plan, _described(rounds, plan, statistics))


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
