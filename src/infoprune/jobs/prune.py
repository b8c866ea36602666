"""The job of `infoprune prune`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget
from infoprune.checkpoint import PLAN, read_config, write_model
from infoprune.clock import StageProgress
from infoprune.compress import Result, compress
from infoprune.errors import InputError
from infoprune.folders import new_folder
from infoprune.jobs.cut import Cut, Sources, check_cut
from infoprune.jobs.inputs import Batches, Packing, StrPath, check_apart, device_named, forget_unfinished, unfinished
from infoprune.jobs.models import check_family, chosen_task, open_model
from infoprune.jobs.preview import Preview, preview
from infoprune.jobs.reload import check_reload
from infoprune.jobs.report import REPORT
from infoprune.jobs.tasks import check_columns, inputs_of, parted, read
from infoprune.jobs.vocabulary import Questions, Start, alone, from_dense, of_dense, questions_for, start
from infoprune.processes import process_index, share_of
from infoprune.ranking.criteria import criterion_named
from infoprune.reports.card import base_model, card
from infoprune.reports.page import page
from infoprune.reports.picture import draw_sizes
from infoprune.reports.render import SIZES, markdown
from infoprune.reports.report import Report, compared, timed
from infoprune.search import search
from infoprune.statistics.statistics import Statistics
from infoprune.tasks.compare import compare
from infoprune.tasks.evaluate import evaluate
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.training.distill import Recovery

MISSED = 0.1
"""By what share of it a budget of latency may be missed without a word."""


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
    force: bool = False,
    started: Callable[[Preview], None] | None = None,
    progress: StageProgress | None = None,
) -> Report:
    """Prunes the model in a folder and writes the smaller one, with plan and report, as a new folder.

    In a process group every process takes its share of the calibration texts, and the first alone evaluates and writes.

    Args:
        folder: with the model and its tokenizer.
        out: new folder; it appears whole or not at all. A training keeps its checkpoints beside it until the end, in
            `out`.unfinished: the same call goes on from there.
        sources: calibration and evaluation texts.
        cut: what to cut.
        task: what the model is for; by default what its class is for.
        packing: batch size and length.
        device: "auto", "cpu", "cuda", "mps".
        plan_only: write only plan.json, the same that a full run would write.
        force: replace `out` if it is there.
        started: called once all input is checked, before the work begins.
        progress: called with (stage, done, of).

    Raises:
        InputError: something about folder, data or options is wrong; the message says what to do.

    Example:
        >>> prune_folder("my-classifier", "half", Sources("train.csv", eval="valid.csv"), cut=Cut(keep=0.5)).kl
        0.021
    """
    cut, packing = cut or Cut(), packing or Packing()
    place = device_named(device)
    check_apart(out, folder, sources.data, sources.eval, *sources.statistics, force=force)
    aim = chosen_task(folder, task)
    sentence = read_sentence_folder(folder)
    kinds = None if cut.tokens is not None and not cut.layers else cut.layers
    check_family(folder if sentence is None else sentence.transformer, kinds)
    check_cut(cut, aim)
    check_columns(aim, sources.columns)
    texts = read(aim, sources.columns, sources.data, scored=False)
    if cut.tolerance is not None and sources.eval is None:
        raise InputError("a largest loss needs texts to measure it on, expected --eval; pass --eval FILE")
    judges = None if sources.eval is None else read(aim, sources.columns, sources.eval, scored=True)
    if judges is None and sources.columns.label is not None:
        warnings.warn(
            f"label column {sources.columns.label!r} is not read: labels serve the evaluation alone; pass --eval FILE",
            stacklevel=2,
        )
    given = sources.given()
    begin = start(*open_model(folder, place, aim), texts, cut, packing, sources.samples)
    model, tokenizer = begin.model, begin.tokenizer
    sample, rest = parted(texts, sources.samples, cut.seed)
    if judges is None and cut.distill is None and not plan_only:
        judges = rest
    batches = share_of(inputs_of(sample, aim, model, tokenizer, packing))
    recovery = None
    # After the only round training changes no plan.
    if cut.distill is not None and not (plan_only and cut.settings.rounds == 1):
        recovery = Recovery(inputs_of(texts, aim, model, tokenizer, packing), cut.distill, unfinished(out))
    questions = Questions() if judges is None else questions_for(judges, aim, begin, packing, cut.seed)
    known = preview(model, batches, cut, given)
    if started is not None:
        started(known)
    result = _result(begin, batches, questions, cut, recovery, given, progress)
    if process_index() > 0:
        return result.report
    if plan_only:
        with new_folder(out, force=force) as draft:
            (draft / PLAN).write_text(result.plan.to_json() + "\n", encoding="utf-8")
        forget_unfinished(out)
        return result.report
    report = _timed(result, begin.dense, cut.budget, progress)
    report = _compared(report, begin.dense, result.model, questions, progress)
    report = replace(report, base_model=base_model(read_config(folder if sentence is None else sentence.transformer)))
    with new_folder(out, force=force) as draft:
        write_model(result.model, draft, tokenizer)
        if cut.settings.shape == "uniform":
            check_reload(draft, result.model, batches[0])
        if sentence is not None:
            sentence.write_beside(draft)
        (draft / REPORT).write_text(report.to_json() + "\n", encoding="utf-8")
        (draft / "report.md").write_text(markdown(report), encoding="utf-8")
        (draft / "report.html").write_text(page(report), encoding="utf-8")
        (draft / "README.md").write_text(card(report), encoding="utf-8")
        draw_sizes(report.kept, draft / SIZES)
    forget_unfinished(out)
    return report


def _result(
    begin: Start,
    batches: Batches,
    questions: Questions,
    cut: Cut,
    recovery: Recovery | None,
    given: Statistics | None,
    progress: StageProgress | None,
) -> Result:
    criterion = criterion_named(cut.criterion)
    if begin.cut and not cut.layers:
        result = alone(begin, batches)
    elif cut.tolerance is not None:
        result = search(
            begin.model,
            batches,
            questions.small,
            cut.tolerance,
            criterion=criterion,
            sites=cut.layers,
            settings=cut.settings,
            seed=cut.seed,
            reference=evaluate(begin.dense, questions.dense) if begin.cut else None,
            statistics=given,
            progress=progress,
        )
    else:
        result = compress(
            begin.model,
            batches,
            keep=cut.keep,
            budget=of_dense(cut.budget, begin),
            criterion=criterion,
            sites=cut.layers,
            settings=cut.settings,
            recovery=recovery,
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
    """Says so where a budget of latency is missed by more than a tenth."""
    before, after = report.dense.latency_ms, report.pruned.latency_ms
    if budget is None or budget.quantity != "latency" or before is None or after is None:
        return
    share = after.median / before.median
    if abs(share / budget.amount - 1) > MISSED:
        warnings.warn(
            f"latency={budget.amount:g} was asked for, but {share:.2f} was measured at the end: times vary on this "
            "machine; compare the folders with infoprune bench, and prune again when nothing else runs",
            stacklevel=2,
        )


def _compared(
    report: Report,
    dense: PreTrainedModel,
    small: PreTrainedModel,
    questions: Questions,
    progress: StageProgress | None,
) -> Report:
    """The report with what evaluation texts say, if there are any; a search has asked them already."""
    if not questions.dense or report.kl is not None:
        return report

    def step(done: int, of: int) -> None:
        if progress is not None:
            progress("evaluate", done, of)

    return compared(report, compare(dense, small, questions.dense, translated=questions.small, progress=step))
