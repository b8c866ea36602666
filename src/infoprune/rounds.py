"""Rounds: a cut in several parts, each of which chooses, cuts, repairs and trains."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from infoprune.budgets.allocate import allocate
from infoprune.budgets.measured import measured
from infoprune.clock import Clock
from infoprune.plan import Plan
from infoprune.processes import as_the_first_says, process_count
from infoprune.ranking.criteria import Criterion, PairedCriterion, extras_of
from infoprune.ranking.rank import Rankings, rank
from infoprune.repair.copies import with_copies
from infoprune.repair.repair import repair
from infoprune.schedule import Schedule
from infoprune.settings import Settings
from infoprune.statistics.calibration import Batch
from infoprune.statistics.collect import collect, collect_worth
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import find_sites, sites_by_name
from infoprune.surgery import prune
from infoprune.training.distill import Recovery, distill


@dataclass
class Rounds:
    """What the parts of a cut hand on to one another.

    Args:
        dense: the model that all is measured by.
        batches: calibration inputs.
        kinds: of site to cut; None means all.
        criterion: what chooses the units.
        goal: how many units stay after each part.
        settings: of all steps.
        seed: of everything that draws.
        clock: times the steps.
        given: statistics of the dense model, or None to collect them from the batches.
    """

    dense: PreTrainedModel
    batches: Sequence[Batch]
    kinds: Collection[str] | None
    criterion: Criterion
    goal: Schedule
    settings: Settings
    seed: int
    clock: Clock
    given: Statistics | None = None
    small: PreTrainedModel = field(init=False)
    """What has come of it so far."""
    plan: Plan = field(init=False)
    """What stays of the dense model."""
    curves: dict[str, tuple[float, ...]] = field(init=False, default_factory=dict)
    """Nats that the dense model would lose at shares of each site; see `Rankings.curves`."""

    def __post_init__(self) -> None:
        self._names = [site.name for site in find_sites(self.dense, self.kinds)]
        units = {site.name: site.units for site in find_sites(self.dense, self.kinds)}
        self.plan = Plan.of_everything(self.dense.config.model_type, units, self.criterion.name, self.seed)
        self._rankings: Rankings | None = None
        self._start_from(self.dense)

    def _start_from(self, base: PreTrainedModel) -> None:
        """From now on this model is what the next part looks at and cuts."""
        self.small = self._base = base
        self._since = self.plan.after()  # what stays of the base
        self._statistics: Statistics | None = None  # of the base

    def choose(self, part: int) -> None:
        """Finds out which units go in this part."""
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
                    current = prune(current, step, statistics)
            if first:  # what is below a site is still whole when its turn comes, so these are of the base
                before = self._statistics
                self._statistics = statistics if before is None else before.joined(statistics)

    def cut(self) -> None:
        """Cuts what was chosen so far out of the base.

        Not out of the model that the last part has repaired: a repair of a repair fits the same texts twice.
        """
        with self.clock.stage("rank"):
            self.small = prune(self._base, self._since, self._statistics)

    def repair(self, *, last: bool) -> None:
        """Re-fits what was cut; the last part lets go of the moments first, since a repair wants their memory."""
        statistics, sites = self._statistics, find_sites(self.dense, self.kinds)
        if statistics is None or not statistics.covers(self.batches):
            with self.clock.stage("collect") as report:
                statistics = collect_worth(self.dense, self.batches, sites=sites, seed=self.seed, progress=report)
        if last:
            statistics, self._statistics = statistics.worth_alone(), None
        with self.clock.stage("repair") as report:
            batches, statistics = with_copies(
                self.dense,
                self.batches,
                statistics,
                self.settings.copies,
                sites=sites,
                seed=self.seed,
                progress=report,
            )
        with self.clock.stage("repair") as report:
            self.small = repair(
                self.small,
                self.dense,
                batches,
                statistics=statistics,
                floor=self.settings.floor,
                ridge=self.settings.ridge,
                producers=self.settings.producers,
                neurons=self.settings.neurons,
                own=len(self.batches),
                progress=report,
            )

    def train(self, recovery: Recovery) -> None:
        """Distills; the next part goes on from here, since cutting the dense model anew would lose what was learnt."""
        with self.clock.stage("distill") as report:
            distilled = distill(
                self.small,
                self.dense,
                recovery.batches,
                how=recovery.how.part_of(self.settings.rounds),
                seed=self.seed,
                folder=recovery.folder,
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
                floor=self.settings.floor,
                ridge=self.settings.shrinkage,
                extras=extras_of(self.criterion),
                seed=self.seed,
                memory=self.settings.memory,
                progress=report,
            )

    def _ranked(self, model: PreTrainedModel, statistics: Statistics, part: int) -> Rankings:
        """Rankings, for which a criterion may have to see more of the model; that is forgotten again."""
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
    """The plan of the first process: latencies and roundings may differ, the models must not."""
    return plan if process_count() == 1 else Plan.from_json(as_the_first_says(plan.to_json()))
