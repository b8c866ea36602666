"""Rounds: prune in several parts, each of which chooses, cuts, repairs and trains."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from infoprune.budgets.allocate import allocate
from infoprune.budgets.measured import measured
from infoprune.pipeline.allowance import Allowance
from infoprune.pipeline.clock import Clock
from infoprune.pipeline.settings import EFFORTS, Settings
from infoprune.pipeline.size_schedule import SizeSchedule
from infoprune.pipeline.training import Training
from infoprune.plan import Plan
from infoprune.processes import as_the_first_says, process_count
from infoprune.ranking.criteria import Criterion, PairedCriterion, extras_of
from infoprune.ranking.rank import Rankings, rank
from infoprune.repairing.augmentation import with_augmentations
from infoprune.repairing.repair import repair
from infoprune.statistics.calibration import Batch
from infoprune.statistics.collect import collect, collect_importance
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import find_sites, sites_by_name
from infoprune.surgery import apply_plan
from infoprune.training.distill import distill

ALL = Allowance()


@dataclass
class Rounds:
    """State that the parts of a pruning pass on to one another.

    Args:
        dense: The original model, the target of repair and distillation.
        batches: Calibration inputs.
        structures: Types of structure to cut; None means every type in the layers.
        criterion: Criterion that ranks the units.
        goal: How many units stay after each part.
        settings: Settings of all steps.
        seed: Seed of everything that is random.
        clock: Clock that times the steps.
        given: Statistics of the dense model, or None to collect them from the batches.
        allowed: What may be taken of the memory.
    """

    dense: PreTrainedModel
    batches: Sequence[Batch]
    structures: Collection[str] | None
    criterion: Criterion
    goal: SizeSchedule
    settings: Settings
    seed: int
    clock: Clock
    given: Statistics | None = None
    allowed: Allowance = ALL
    small: PreTrainedModel = field(init=False)
    """The result so far."""
    plan: Plan = field(init=False)
    """The units of the dense model that stay."""
    curves: dict[str, tuple[float, ...]] = field(init=False, default_factory=dict)
    """Predicted loss of the dense model in nats at shares of each site; see `Rankings.curves`."""

    def __post_init__(self) -> None:
        self._names = [site.name for site in find_sites(self.dense, self.structures)]
        units = {site.name: site.units for site in find_sites(self.dense, self.structures)}
        self.plan = Plan.of_everything(self.dense.config.model_type, units, self.criterion.name, self.seed)
        self._rankings: Rankings | None = None
        self._start_from(self.dense)

    def _start_from(self, base: PreTrainedModel) -> None:
        """Make a model the one that the next part ranks and cuts."""
        self.small = self._base = base
        self._since = self.plan.after()  # the units of the base that stay
        self._statistics: Statistics | None = None  # of the base

    def choose(self, part: int) -> None:
        """Choose the units to remove in this part."""
        if self._rankings is not None and self.settings.refresh == "never":
            self._follow(self._rankings.among(self.plan), part)
            return
        first = self._statistics is None
        alone = self.settings.refresh == "site"
        current = self.small
        for names in [[name] for name in reversed(self._names)] if alone else [self._names]:
            statistics = self._collected(current, names)
            self._rankings = self._ranked(current, statistics, part)
            if part == 0:
                self.curves |= self._rankings.curves()
            step = self._follow(self._rankings, part)
            if alone:
                with self.clock.stage("rank"):
                    current = apply_plan(current, step, statistics)
            if first:  # everything below a site is still whole at its turn, so these are statistics of the base
                before = self._statistics
                self._statistics = statistics if before is None else before.joined(statistics)

    def cut(self) -> None:
        """Cut all units that were chosen so far out of the base.

        The base is not the repaired model of the last part: to repair a repaired model fits the same texts twice.
        """
        with self.clock.stage("rank"):
            self.small = apply_plan(self._base, self._since, self._statistics)

    def repair(self, *, last: bool) -> None:
        """Repair the cut model; the last part frees the moments first, since the repair needs their memory."""
        statistics, sites = self._statistics, find_sites(self.dense, self.structures)
        own = self.allowed.for_repair(self.batches)
        if statistics is None or not statistics.covers(own):
            with self.clock.stage("collect") as report:
                statistics = collect_importance(
                    self.dense, own, sites=sites, seed=self.seed, memory=self.allowed.graph, progress=report
                )
        if last:
            statistics, self._statistics = statistics.for_repair(), None
        with self.clock.stage("repair") as report:
            batches, statistics = with_augmentations(
                self.dense,
                own,
                statistics,
                self.settings.augmentations,
                sites=sites,
                seed=self.seed,
                memory=self.allowed.graph,
                progress=report,
            )
        with self.clock.stage("repair") as report:
            self.small = repair(
                self.small,
                self.dense,
                batches,
                statistics=statistics,
                smoothing=self.settings.smoothing,
                ridge=self.settings.ridge,
                producers=self.settings.producers,
                neurons=EFFORTS[self.settings.effort],
                own=len(own),
                in_place=True,
                progress=report,
            )

    def train(self, training: Training) -> None:
        """Distill the model and start the next part from it: a new cut of the dense model would lose the training."""
        with self.clock.stage("distill") as report:
            distilled = distill(
                self.small,
                self.dense,
                training.batches,
                how=training.how.part_of(self.settings.rounds),
                seed=self.seed,
                folder=training.checkpoints,
                progress=report,
            )
        self._start_from(distilled.model)

    def _follow(self, rankings: Rankings, part: int) -> Plan:
        with self.clock.stage("rank"):
            step = _agreed(allocate(rankings, self.goal.after(part, rankings)))
            self.plan, self._since = self.plan.then(step), self._since.then(step)
        return step

    def _collected(self, model: PreTrainedModel, names: Sequence[str]) -> Statistics:
        if self.given is not None and model is self.dense:
            known = sites_by_name(model)
            return self.given.of_sites([each.name for name in names for each in known[name].measured])
        with self.clock.stage("collect") as report:
            return collect(
                model,
                self.batches,
                sites=[site for name, site in sites_by_name(model).items() if name in names],
                smoothing=self.settings.smoothing,
                shrinkage=self.settings.shrinkage,
                extras=extras_of(self.criterion),
                seed=self.seed,
                memory=self.allowed.graph,
                progress=report,
            )

    def _ranked(self, model: PreTrainedModel, statistics: Statistics, part: int) -> Rankings:
        """Return the rankings; a `PairedCriterion` collects more statistics first, which are not kept."""
        budget = None
        if isinstance(self.criterion, PairedCriterion):
            budget = self.goal.beforehand(part, {name: site.site.units for name, site in statistics.sites.items()})
            with self.clock.stage("collect") as report:
                statistics = collect_pairs(
                    model, self.batches, statistics, self.criterion.pairing, seed=self.seed, progress=report
                )
        with self.clock.stage("rank") as report:
            rankings = rank(statistics, self.criterion, budget=budget, seed=self.seed, progress=report)
        if not self.goal.by_losses:
            return rankings
        with self.clock.stage("measure") as report:
            return measured(rankings, model, statistics, self.batches, progress=report)


def _agreed(plan: Plan) -> Plan:
    """Return the first process's plan: latencies and roundings may differ between processes, the models must not."""
    return plan if process_count() == 1 else Plan.from_json(as_the_first_says(plan.to_json()))
