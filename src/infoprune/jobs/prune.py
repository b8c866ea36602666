"""Prune: the job of `infoprune prune`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget
from infoprune.checkpoint import check_writable, write_model
from infoprune.data.media import Data
from infoprune.errors import InputError
from infoprune.files.folders import new_folder
from infoprune.files.model_folder import PLAN
from infoprune.jobs.cut import Cut, Sources, check_cut
from infoprune.jobs.export import Graphs
from infoprune.jobs.inputs import Batches, Packing, StrPath, check_apart, device_named, forget_unfinished, unfinished
from infoprune.jobs.models import check_family, chosen_task, embedding_length, open_model
from infoprune.jobs.preview import Preview, preview
from infoprune.jobs.reload import check_reload
from infoprune.jobs.report import REPORT
from infoprune.jobs.samples import looked_at
from infoprune.jobs.tasks import check_columns, inputs_of, read, split_samples
from infoprune.jobs.vocabulary import EvalBatches, Start, alone, eval_batches_for, from_dense, of_dense, start
from infoprune.pipeline.clock import StageProgress
from infoprune.pipeline.prune import prune
from infoprune.pipeline.result import Result
from infoprune.pipeline.search import search
from infoprune.pipeline.training import Training
from infoprune.processes import process_index, share_of
from infoprune.ranking.criteria import criterion_named
from infoprune.reports.card import card
from infoprune.reports.origin import CARD, Origin, read_origin
from infoprune.reports.page import page
from infoprune.reports.picture import plot_sizes
from infoprune.reports.render import SIZES, markdown
from infoprune.reports.report import SENTENCE_TRANSFORMERS, TRANSFORMERS, Report, compared, timed
from infoprune.reports.samples import Samples
from infoprune.serving.export import check_without_experts
from infoprune.sources.models import model_folder, name_on_hub
from infoprune.statistics.statistics import Statistics
from infoprune.tasks.compare import compare
from infoprune.tasks.evaluate import evaluate
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.tasks.table import Task

MISSED = 0.1
"""Share by which a latency budget may be missed without a warning."""


def prune_folder(
    folder: StrPath,
    out: StrPath,
    sources: Sources,
    *,
    cut: Cut | None = None,
    task: str | None = None,
    packing: Packing | None = None,
    device: str = "auto",
    plan_only: bool = False,
    graphs: Graphs | None = None,
    force: bool = False,
    started: Callable[[Preview], None] | None = None,
    progress: StageProgress | None = None,
) -> Report:
    """Prune the model in a folder and write the smaller one, with plan and report, as a new folder.

    In a process group every process runs on its share of the calibration texts, and only the first evaluates and
    writes.

    Args:
        folder: Folder with the model and its tokenizer, or name of a model on the hub.
        out: New folder; it is written completely or not at all. Until then a training stores its checkpoints beside it
            in `out`.unfinished; the same call resumes from there.
        sources: Calibration and evaluation texts.
        cut: Size, structures and method of the cut.
        task: Task of the model; by default that of its class.
        packing: Batch size and length.
        device: "auto", "cpu", "cuda", "mps".
        plan_only: Whether to write only plan.json, the same that a full run would write.
        graphs: Graphs to write beside the model; none by default.
        force: Whether to replace `out` if it exists.
        started: Called once all input is checked, before the work begins.
        progress: Called with (stage, done, of).

    Raises:
        InputError: The folder, the data or an option is not valid; the message gives the remedy.

    Examples:
        >>> prune_folder("my-classifier", "half", Sources("train.csv", eval="valid.csv"), cut=Cut(keep=0.5)).kl
        0.021
    """
    cut, packing, graphs = cut or Cut(), packing or Packing(), graphs or Graphs()
    torch_device = device_named(device)
    check_apart(out, folder, sources.data, sources.eval, *sources.statistics, force=force)
    folder = model_folder(folder, progress=progress)
    check_apart(out, folder, force=True)
    aim = chosen_task(folder, task)
    sentence = read_sentence_folder(folder)
    structures = None if cut.tokens is not None and not cut.layers else cut.layers
    check_family(folder if sentence is None else sentence.transformer, structures)
    check_cut(cut, aim)
    graphs.check(aim, plan_only=plan_only)
    check_columns(aim, sources.columns)
    texts, eval_texts = _texts(sources, aim, cut, progress)
    given = sources.given()
    opened = open_model(folder, torch_device, aim)
    check_writable(*opened)
    if graphs.onnx:
        check_without_experts(opened[0])
    begin = start(*opened, texts, cut, packing, sources.samples)
    model, tokenizer = begin.model, begin.tokenizer
    sample, rest = split_samples(texts, sources.samples, cut.seed)
    if eval_texts is None and cut.distill is None and not plan_only:
        eval_texts = rest
    batches = list(share_of(inputs_of(sample, aim, model, tokenizer, packing)))
    training = None
    # Training after the only round does not change the plan.
    if cut.distill is not None and not (plan_only and cut.settings.rounds == 1):
        training = Training(cut.distill, inputs_of(texts, aim, model, tokenizer, packing), unfinished(out))
    eval_batches = EvalBatches() if eval_texts is None else eval_batches_for(eval_texts, aim, begin, packing, cut.seed)
    known = preview(model, batches, cut, given)
    if started is not None:
        started(known)
    result = _result(begin, batches, eval_batches, cut, training, given, progress)
    if process_index() > 0:
        return result.report
    if plan_only:
        with new_folder(out, force=force) as draft:
            (draft / PLAN).write_text(result.plan.to_json() + "\n", encoding="utf-8")
        forget_unfinished(out)
        return result.report
    report = _timed(result, begin.dense, cut.budget, progress)
    report = _compared(report, begin.dense, result.model, eval_batches, progress)
    report, samples = looked_at(report, eval_texts, aim, begin.dense, result.model, tokenizer, packing)
    report = replace(
        report,
        base_model=name_on_hub(folder),
        library=SENTENCE_TRANSFORMERS if sentence is not None and sentence.embeds else TRANSFORMERS,
    )
    with new_folder(out, force=force) as draft:
        write_model(result.model, draft, tokenizer)
        if cut.settings.shape == "uniform":
            check_reload(draft, result.model, batches[0])
        if sentence is not None:
            sentence.write_beside(draft, embedding_length(result.model))
        _write_report(report, draft, read_origin(folder), Path(out).name, samples)
        graphs.write(result.model, draft, batches)
    forget_unfinished(out)
    return report


def _texts(sources: Sources, task: Task, cut: Cut, progress: StageProgress | None) -> tuple[Data, Data | None]:
    """Read the calibration texts, and the evaluation texts if there are any."""
    texts = read(task, sources.columns, sources.data, scored=False, progress=progress)
    if sources.eval is not None:
        return texts, read(task, sources.columns, sources.eval, scored=True, split="validation", progress=progress)
    if cut.max_loss is not None:
        raise InputError("a largest loss is measured on evaluation texts, but none were given; pass `eval=FILE`")
    if sources.columns.label is not None:
        warnings.warn(
            f"label column {sources.columns.label!r} is not read: only the evaluation uses labels; pass `eval=FILE`",
            stacklevel=3,
        )
    return texts, None


def _write_report(report: Report, folder: Path, origin: Origin, name: str, samples: Samples) -> None:
    (folder / REPORT).write_text(report.to_json() + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(report, name), encoding="utf-8")
    (folder / "report.html").write_text(page(report, name, samples), encoding="utf-8")
    (folder / CARD).write_text(card(report, origin, name), encoding="utf-8")
    plot_sizes(report.kept, folder / SIZES)


def _result(
    begin: Start,
    batches: Batches,
    eval_batches: EvalBatches,
    cut: Cut,
    training: Training | None,
    given: Statistics | None,
    progress: StageProgress | None,
) -> Result:
    criterion = criterion_named(cut.criterion)
    if begin.cut and not cut.layers:
        result = alone(begin, batches)
    elif cut.max_loss is not None:
        result = search(
            begin.model,
            batches,
            eval_batches.small,
            cut.max_loss,
            criterion=criterion,
            structures=cut.layers,
            settings=cut.settings,
            seed=cut.seed,
            reference=evaluate(begin.dense, eval_batches.dense) if begin.cut else None,
            statistics=given,
            progress=progress,
        )
    else:
        result = prune(
            begin.model,
            batches,
            keep=cut.keep,
            budget=of_dense(cut.size, begin) if isinstance(cut.size, Budget) else None,
            criterion=criterion,
            structures=cut.layers,
            settings=cut.settings,
            distill=None if training is None else training.how,
            distill_batches=None if training is None else training.batches,
            checkpoints=None if training is None else training.checkpoints,
            statistics=given,
            seed=cut.seed,
            progress=progress,
        )
    return replace(result, report=from_dense(result.report, begin))


def _timed(result: Result, dense: PreTrainedModel, budget: Budget | None, progress: StageProgress | None) -> Report:
    if progress is not None:
        progress("time", 0, 1)
    report = timed(result.report, dense, result.model)
    if progress is not None:
        progress("time", 1, 1)
    _warn_slow(report, budget)
    return report


def _warn_slow(report: Report, budget: Budget | None) -> None:
    """Warn where a latency budget is missed by more than a tenth."""
    before, after = report.dense.latency_ms, report.pruned.latency_ms
    if budget is None or budget.quantity != "latency" or before is None or after is None:
        return
    share = after.median / before.median
    if abs(share / budget.amount - 1) > MISSED:
        warnings.warn(
            f"the budget is latency={budget.amount:g}, but {share:.2f} was measured at the end: times vary on this "
            "machine; compare the folders with infoprune bench, and prune again when nothing else runs",
            stacklevel=2,
        )


def _compared(
    report: Report,
    dense: PreTrainedModel,
    small: PreTrainedModel,
    eval_batches: EvalBatches,
    progress: StageProgress | None,
) -> Report:
    """Return the report with the scores on evaluation texts, if there are any; a search has scored them already."""
    if not eval_batches.dense or report.kl is not None:
        return report

    def step(done: int, of: int) -> None:
        if progress is not None:
            progress("evaluate", done, of)

    same = eval_batches.small is eval_batches.dense
    translated = None if same else eval_batches.small
    return compared(report, compare(dense, small, eval_batches.dense, translated=translated, progress=step))
