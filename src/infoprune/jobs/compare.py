"""Compare: the job of `infoprune compare`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from transformers import PreTrainedModel

from infoprune.budgets.budget import Keep
from infoprune.budgets.costs import Costs, find_costs
from infoprune.errors import InputError
from infoprune.files.folders import new_folder
from infoprune.jobs.cut import Sources
from infoprune.jobs.grid import CELLS, CellStore, Goal, Grid, digest_of
from infoprune.jobs.inputs import Batches, Packing, StrPath, check_apart, device_named, forget_unfinished, unfinished
from infoprune.jobs.models import check_family, chosen_task, open_model
from infoprune.jobs.tasks import check_columns, eval_batches_of, inputs_of, read, split_samples
from infoprune.measuring.measure import count_flops, count_parameters, example_batch, measure_latency
from infoprune.methods.apply import collect_for, prune_by, rank_once
from infoprune.methods.finish import finished
from infoprune.methods.rotate import rotatable_stream
from infoprune.methods.table import USUAL_OF_EXPERTS, Finish, Method, method_named
from infoprune.pipeline.clock import StageProgress
from infoprune.plan import Plan
from infoprune.ranking.criteria import CRITERIA, criterion_named
from infoprune.ranking.rank import Rankings, check_criterion
from infoprune.repairing.repair import check_repairable
from infoprune.reports.comparison import Cell, comparison_markdown
from infoprune.reports.curves import plot_curves
from infoprune.sources.models import model_folder
from infoprune.statistics.calibration import typical_shape, with_targets
from infoprune.statistics.statistics import Statistics
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites
from infoprune.tasks.compare import Comparison, between, compare
from infoprune.tasks.evaluate import Evaluation, evaluate
from infoprune.tasks.sentence import read_sentence_folder


@dataclass(frozen=True)
class Outlook:
    """Number of cells in total, and of those already computed by an interrupted run."""

    cells: int
    found: int


def compare_folder(
    folder: StrPath,
    out: StrPath,
    sources: Sources,
    grid: Grid,
    *,
    task: str | None = None,
    packing: Packing | None = None,
    device: str = "auto",
    force: bool = False,
    started: Callable[[Outlook], None] | None = None,
    progress: StageProgress | None = None,
) -> list[Cell]:
    """Prune the model in a folder by several methods to several sizes, and write the results as a new folder.

    Statistics are collected once per seed and shared. Computed cells are stored in `out`.unfinished: the same call
    resumes from there, also after a kill.

    Args:
        folder: Folder with the model and its tokenizer, or name of a model on the hub.
        out: New folder for cells.jsonl, comparison.md and curves.png; it is written completely or not at all.
        sources: Calibration and evaluation texts.
        grid: Methods, sizes and seeds.
        task: Task of the model; by default that of its class.
        packing: Batch size and length.
        device: "auto", "cpu", "cuda", "mps".
        force: Whether to replace `out` if it exists.
        started: Called once all input is checked, before the work begins.
        progress: Called with (stage, done, of).

    Raises:
        InputError: The folder, the data or an option is not valid; the message gives the remedy.

    Examples:
        >>> cells = compare_folder("mine", "compared", Sources("train.csv", "valid.csv"), Grid(("kwon",), (0.5,)))
        >>> cells[0].metrics["kl"]
        0.021
    """
    packing = packing or Packing()
    torch_device = device_named(device)
    check_apart(out, folder, sources.data, sources.eval, force=force)
    folder = model_folder(folder, progress=progress)
    check_apart(out, folder, force=True)
    aim = chosen_task(folder, task)
    sentence = read_sentence_folder(folder)
    check_family(folder if sentence is None else sentence.transformer, grid.structures)
    check_columns(aim, sources.columns)
    texts = read(aim, sources.columns, sources.data, scored=False, progress=progress)
    if sources.eval is None:
        raise InputError("a comparison is scored on evaluation texts, but none were given; pass `eval=FILE`")
    eval_texts = read(aim, sources.columns, sources.eval, scored=True, split="validation", progress=progress)
    model, tokenizer = open_model(folder, torch_device, aim)
    sites = grid.cut_sites(model)
    grid = grid.for_sites(sites)
    _check_fit(model, grid, sites)
    eval_batches = eval_batches_of(eval_texts, aim, model, tokenizer, packing, grid.seed)
    cells = CellStore(unfinished(out) / CELLS, digest_of(model, texts, eval_texts, sources, packing, grid))
    wanted = [(seed, *key) for seed in grid.seed_range for key in grid.keys]
    if started is not None:
        started(Outlook(len(wanted), sum(key in cells.found for key in wanted)))
    dense = _Dense(model, eval_batches)
    for seed in grid.seed_range:
        missing = [key for key in grid.keys if (seed, *key) not in cells.found]
        if missing:
            sample, _ = split_samples(texts, sources.samples, seed)
            seed_run = _SeedRun(dense, list(inputs_of(sample, aim, model, tokenizer, packing)), seed, grid, progress)
            for key in missing:
                cells.add(seed_run.cell(*key))
                if progress is not None:
                    progress("cells", len(cells.among(wanted)), len(wanted))
    result = cells.among(wanted)
    with new_folder(out, force=force) as draft:
        (draft / CELLS).write_text("".join(f"{json.dumps(asdict(cell))}\n" for cell in result), encoding="utf-8")
        (draft / "comparison.md").write_text(comparison_markdown(result), encoding="utf-8")
        plot_curves(result, draft / "curves.png")
    forget_unfinished(out)
    return result


def _check_fit(model: PreTrainedModel, grid: Grid, sites: Sequence[Site]) -> None:
    """Raise InputError where the model does not support some method or goal."""
    check_repairable(sites)
    methods = [method_named(name) for name in grid.names]
    for method in methods:
        if method.name in CRITERIA:
            check_criterion(criterion_named(method.name), sites, "criteria")
        if method.sequential and any(site.routing is not None for site in sites):
            raise InputError(
                f"{method.name} has no score for experts, expected one of: {', '.join(USUAL_OF_EXPERTS)}; leave it out "
                "of `criteria`, or pass `structures=heads`"
            )
    if any(method.rotates for method in methods):
        rotatable_stream(model)
    for goal in grid.goals.values():
        if isinstance(goal, Keep):
            for site in sites:
                goal.count(site)


@dataclass
class _Dense:
    """The dense model and its outputs on the evaluation texts."""

    model: PreTrainedModel
    eval_batches: Batches

    @cached_property
    def answers(self) -> Evaluation:
        return evaluate(self.model, self.eval_batches)

    def beside(self, small: PreTrainedModel) -> Comparison:
        """Compare with a small model; the dense model runs again where its outputs at every token were not kept."""
        if len(self.answers.logits):
            return between(self.answers, evaluate(small, self.eval_batches))
        return compare(self.model, small, self.eval_batches)


class _SeedRun:
    """Calibration texts of one seed, with the statistics, costs and rankings that its cells share."""

    def __init__(self, dense: _Dense, batches: Batches, seed: int, grid: Grid, progress: StageProgress | None) -> None:
        self._dense, self._seed, self._grid, self._progress = dense, seed, grid, progress
        self._batches = with_targets(dense.model, batches)
        self._shape = typical_shape(self._batches, dense.model.config)
        self._example = example_batch(dense.model.config, *self._shape)
        self._costs: dict[str, Costs] = {}
        self._ranked: dict[str, tuple[Rankings | None, float]] = {}
        self._last: tuple[tuple[str, str], PreTrainedModel, Plan, float] | None = None

    @cached_property
    def _statistics(self) -> Statistics:
        methods = [method_named(name) for name in self._grid.names]
        progress = self._progress
        report = None if progress is None else lambda done, of: progress("collect", done, of)
        model, sites = self._dense.model, find_sites(self._dense.model, self._grid.structures)
        return collect_for(methods, model, self._batches, sites=sites, seed=self._seed, progress=report)

    @cached_property
    def _dense_flops(self) -> int:
        return count_flops(self._dense.model, self._example)

    def _cost(self, goal: Goal) -> Costs | None:
        if isinstance(goal, Keep):
            return None
        if goal.quantity not in self._costs:
            structures = self._grid.structures
            self._costs[goal.quantity] = find_costs(
                self._dense.model, goal.quantity, self._batches, structures=structures
            )
        return self._costs[goal.quantity]

    def _rankings(self, method: Method) -> tuple[Rankings | None, float]:
        """Return the rankings that all goals share, and their seconds, which count in each of the cells."""
        if method.name not in self._ranked:
            statistics = self._statistics
            began = time.perf_counter()
            rankings = rank_once(method, statistics, seed=self._seed)
            self._ranked[method.name] = rankings, time.perf_counter() - began
        return self._ranked[method.name]

    def _chosen(self, method: Method, name: str) -> tuple[PreTrainedModel, Plan, float]:
        """Prune by a method with its own repair; the latest result is cached for the other repair."""
        if self._last is None or self._last[0] != (method.name, name):
            goal = self._grid.goals[name]
            statistics, costs = self._statistics, self._cost(goal)
            rankings, ranking = self._rankings(method)
            began = time.perf_counter()
            # where only our repair is requested, the method's own is not computed
            finish: Finish | None = None if not method.ranks or "own" in self._grid.repairs else "cut"
            small, plan = prune_by(
                method,
                self._dense.model,
                self._batches,
                statistics,
                goal,
                costs,
                finish=finish,
                rankings=rankings,
                seed=self._seed,
            )
            self._last = (method.name, name), small, plan, ranking + time.perf_counter() - began
        return self._last[1:]

    def _repaired(self, method: Method, name: str, plan: Plan) -> PreTrainedModel:
        """Return the same choice with our repair; the plan of a rotated model does not apply to the original one."""
        if not method.rotates:
            return finished(self._dense.model, plan, self._statistics, self._batches, "repair")
        goal = self._grid.goals[name]
        costs = self._cost(goal)
        return prune_by(method, self._dense.model, self._batches, self._statistics, goal, costs, finish="repair")[0]

    def cell(self, goal: str, criterion: str, repair: str) -> Cell:
        """Prune, evaluate, count and time for one cell."""
        method, model = method_named(criterion), self._dense.model
        small, plan, seconds = self._chosen(method, goal)
        if repair == "ours" and (method.finish != "repair" or "own" not in self._grid.repairs):
            began = time.perf_counter()
            small = self._repaired(method, goal, plan)
            seconds += time.perf_counter() - began
        comparison = self._dense.beside(small)
        before, after = measure_latency([model, small], self._example)
        return Cell(
            criterion=criterion,
            repair=repair,
            goal=goal,
            seed=self._seed,
            metrics={name: value for name, value in comparison.metrics().items() if math.isfinite(value)},
            dense=comparison.dense,
            parameters=count_parameters(small) / count_parameters(model),
            flops=count_flops(small, self._example) / self._dense_flops,
            latency_ms=after.median,
            dense_latency_ms=before.median,
            kept={name: kept for name, (kept, _) in plan.counts.items()},
            seconds=seconds,
        )
