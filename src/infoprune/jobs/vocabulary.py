"""The part of `infoprune prune` that comes before all others: the site vocabulary."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.budgets.budget import Budget
from infoprune.compress import Result
from infoprune.data.texts import TextData
from infoprune.jobs.cut import Cut
from infoprune.jobs.inputs import Batches, Packing
from infoprune.jobs.preview import opens_in
from infoprune.jobs.tasks import questions_of, targets
from infoprune.measuring.measure import count_bytes, count_flops, count_parameters, example_batch
from infoprune.plan import plan_of
from infoprune.processes import share_of
from infoprune.reports.report import Report, describe
from infoprune.statistics.calibration import typical_shape
from infoprune.tasks.table import Task
from infoprune.vocabulary.dropped import default_for
from infoprune.vocabulary.tokens import prune_vocabulary


@dataclass(frozen=True)
class Start:
    """What the sites in the layers are cut from.

    Args:
        dense: the model as it was opened, by which the result is measured.
        words: its tokenizer.
        model: the same model, or one with fewer tokens.
        tokenizer: of that.
        seconds: that the cut of the vocabulary took.
        missing: share of the tokens of new texts that will be none of those that stayed; None where none went.
    """

    dense: PreTrainedModel
    words: PreTrainedTokenizerBase
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    seconds: float = 0.0
    missing: float | None = None

    @property
    def cut(self) -> bool:
        """Whether tokens went."""
        return self.model is not self.dense

    @property
    def renumbered(self) -> bool:
        """Whether the two models read different numbers."""
        return self.tokenizer is not self.words


def start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: TextData,
    cut: Cut,
    packing: Packing,
    samples: int,
) -> Start:
    """The model with the tokens that the cut keeps for the texts; as it is where the cut is not of its vocabulary.

    So many of the texts, those that the units are chosen on, tell which rows are nearest.
    """
    if cut.tokens is None:
        return Start(model, tokenizer, model, tokenizer)
    began = time.perf_counter()
    dropped = cut.dropped_tokens or default_for(model, opens_in(model, cut))
    batches = None
    if dropped == "nearest":
        batches = share_of(packing.pack(texts, model, tokenizer, samples=samples, seed=cut.seed))
    small = prune_vocabulary(
        model,
        tokenizer,
        texts,
        min_count=cut.tokens,
        extra=cut.extra_tokens or 0,
        dropped=dropped,
        batches=batches,
    )
    return Start(model, tokenizer, small.model, small.tokenizer, time.perf_counter() - began, small.missing)


@dataclass(frozen=True)
class Questions:
    """The same evaluation texts in the same order, as the dense model reads them and as the small one does."""

    dense: Batches = ()
    small: Batches = ()


def questions_for(judges: TextData, task: Task, start: Start, packing: Packing, seed: int) -> Questions:
    """Evaluation texts as batches, with labels where there are any."""
    if not start.renumbered:
        batches = questions_of(judges, task, start.dense, start.words, packing, seed)
        return Questions(batches, batches)
    # By characters, since the two count tokens differently.
    rows = judges.among(sorted(range(len(judges)), key=lambda row: len(judges.texts[row])))
    labels = targets(start.dense, rows)
    return Questions(
        packing.pack(rows, start.dense, start.words, labels=labels, sort=False),
        packing.pack(rows, start.model, start.tokenizer, labels=labels, sort=False),
    )


def of_dense(budget: Budget | None, start: Start) -> Budget | None:
    """A share of the dense model's parameters or bytes, as a share of what the other sites are cut from."""
    count = {"params": count_parameters, "bytes": count_bytes}.get("" if budget is None else budget.quantity)
    if budget is None or count is None or budget.amount > 1:
        return budget
    return replace(budget, amount=min(1.0, budget.amount * count(start.dense) / count(start.model)))


def alone(start: Start, batches: Batches) -> Result:
    """The result where nothing but the vocabulary is cut."""
    plan = plan_of(start.model)
    if plan is None:
        raise ValueError("the model carries no plan: expected one with fewer tokens; see start")
    shape = typical_shape(batches, start.model.config)
    samples = sum(len(batch["input_ids"]) for batch in batches)
    return Result(start.model, plan, describe(start.dense, start.model, plan, samples=samples, shape=shape, seconds={}))


def from_dense(report: Report, start: Start) -> Report:
    """The report of a cut after that of the vocabulary, counted from the model with all tokens."""
    if not start.cut:
        return report
    dense = replace(
        report.dense,
        parameters=count_parameters(start.dense),
        flops=count_flops(start.dense, example_batch(start.model.config, *report.shape)),
        bytes=count_bytes(start.dense),
    )
    total = report.seconds.get("total", 0.0) + start.seconds
    seconds = {**report.seconds, "vocabulary": start.seconds, "total": total}
    return replace(report, dense=dense, missing=start.missing, seconds=seconds)
