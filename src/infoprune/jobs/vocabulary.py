"""Vocabulary: the first part of `infoprune prune`, which prunes the vocabulary before the layers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.budgets.budget import Budget
from infoprune.checkpoint import Preprocessor
from infoprune.data.media import Data, MediaData
from infoprune.jobs.cut import Cut
from infoprune.jobs.inputs import Batches, Packing
from infoprune.jobs.preview import opens_in
from infoprune.jobs.tasks import eval_batches_of, targets
from infoprune.measuring.active import count_active_parameters
from infoprune.measuring.measure import count_bytes, count_flops, count_parameters, example_batch
from infoprune.pipeline.result import Result
from infoprune.plan import plan_of
from infoprune.processes import share_of
from infoprune.reports.report import Report, describe
from infoprune.statistics.calibration import typical_shape
from infoprune.tasks.table import Task
from infoprune.vocabulary.dropped import default_for
from infoprune.vocabulary.tokens import prune_vocabulary


@dataclass(frozen=True)
class Start:
    """Model and tokenizer before the layers are cut.

    Args:
        dense: Model as loaded; the result is compared with it.
        words: Its tokenizer; for pictures, which have no vocabulary, its image processor.
        model: The same model, or one with fewer tokens.
        tokenizer: Tokenizer of `model`.
        seconds: Duration of the cut of the vocabulary.
        missing: Estimated share of the tokens of new texts that are none of the kept tokens; None where none were
            removed.
    """

    dense: PreTrainedModel
    words: Preprocessor
    model: PreTrainedModel
    tokenizer: Preprocessor
    seconds: float = 0.0
    missing: float | None = None

    @property
    def cut(self) -> bool:
        """Whether tokens were removed."""
        return self.model is not self.dense

    @property
    def renumbered(self) -> bool:
        """Whether the two models read different token numbers."""
        return self.tokenizer is not self.words


def start(
    model: PreTrainedModel,
    preprocessor: Preprocessor,
    texts: Data,
    cut: Cut,
    packing: Packing,
    samples: int,
) -> Start:
    """Return the model with the kept tokens; unchanged where the vocabulary is not cut.

    Token remapping measures the output Fisher information on `samples` of the texts, those by which units are chosen.
    """
    if cut.tokens is None or isinstance(texts, MediaData):
        return Start(model, preprocessor, model, preprocessor)
    tokenizer = cast(PreTrainedTokenizerBase, preprocessor)
    began = time.perf_counter()
    dropped = cut.dropped_tokens or default_for(model, opens_in(model, cut))
    batches = None
    if dropped == "remap":
        batches = share_of(packing.pack(texts, model, tokenizer, samples=samples, seed=cut.seed))
    small = prune_vocabulary(
        model,
        tokenizer,
        texts,
        min_count=cut.tokens,
        extra_tokens=cut.extra_tokens or 0,
        dropped_tokens=dropped,
        batches=batches,
    )
    return Start(model, tokenizer, small.model, small.tokenizer, time.perf_counter() - began, small.missing)


@dataclass(frozen=True)
class EvalBatches:
    """The same evaluation texts in the same order, tokenised for the dense model and for the small one."""

    dense: Batches = ()
    small: Batches = ()


def eval_batches_for(eval_texts: Data, task: Task, start: Start, packing: Packing, seed: int) -> EvalBatches:
    """Make evaluation batches for both models, with labels where there are any."""
    if not start.renumbered or isinstance(eval_texts, MediaData):
        batches = eval_batches_of(eval_texts, task, start.dense, start.words, packing, seed)
        return EvalBatches(batches, batches)
    # Sorted by characters, since the two models split the texts into different tokens.
    rows = eval_texts.among(sorted(range(len(eval_texts)), key=lambda row: len(eval_texts.texts[row])))
    labels = targets(start.dense, rows)
    words, kept = (cast(PreTrainedTokenizerBase, each) for each in (start.words, start.tokenizer))
    return EvalBatches(
        packing.pack(rows, start.dense, words, labels=labels, sort=False),
        packing.pack(rows, start.model, kept, labels=labels, sort=False),
    )


def of_dense(budget: Budget, start: Start) -> Budget:
    """Convert a share of the dense model's parameters or bytes to a share of the model whose layers are cut."""
    count = {"params": count_parameters, "bytes": count_bytes}.get(budget.quantity)
    if count is None or budget.amount > 1:
        return budget
    return replace(budget, amount=min(1.0, budget.amount * count(start.dense) / count(start.model)))


def alone(start: Start, batches: Batches) -> Result:
    """Return the result where only the vocabulary is cut."""
    plan = plan_of(start.model)
    if plan is None:
        raise ValueError("the model has no plan, expected one with fewer tokens; see start")
    shape = typical_shape(batches, start.model.config)
    samples = sum(len(batch["input_ids"]) for batch in batches)
    return Result(start.model, plan, describe(start.dense, start.model, plan, samples=samples, shape=shape, seconds={}))


def from_dense(report: Report, start: Start) -> Report:
    """Return the report relative to the model with all tokens."""
    if not start.cut:
        return report
    dense = replace(
        report.dense,
        parameters=count_parameters(start.dense),
        flops=count_flops(start.dense, example_batch(start.model.config, *report.shape)),
        bytes=count_bytes(start.dense),
        active_parameters=count_active_parameters(start.dense),
    )
    total = report.seconds.get("total", 0.0) + start.seconds
    seconds = {**report.seconds, "vocabulary": start.seconds, "total": total}
    return replace(report, dense=dense, missing=start.missing, seconds=seconds)
