"""Speech: the transcripts that models write of evaluation clips, and metrics of their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from transformers import PreTrainedModel

from infoprune.checkpoint import Preprocessor
from infoprune.data.clips import clip_batches
from infoprune.data.media import MediaData
from infoprune.jobs.inputs import Packing
from infoprune.jobs.media import of_waves
from infoprune.jobs.preprocessors import rate_of, tokenizer_of
from infoprune.measuring.measure import takes_waves
from infoprune.tasks.table import Task
from infoprune.tasks.transcribe import LONGEST, transcribe, transcribe_frames, word_error_rate
from infoprune.training.trainer import quiet_transformers


def transcripts_of(
    model: PreTrainedModel, data: MediaData, task: Task, preprocessor: Preprocessor, packing: Packing
) -> list[str]:
    """Return what a model writes of clips.

    Args:
        model: Model of speech.
        data: The clips.
        task: Its task.
        preprocessor: Its processor.
        packing: Batch size, and length of transcripts.
    """
    processor = cast(Any, preprocessor)
    if takes_waves(model.config):
        batches = of_waves(data, model, processor, packing.size(task))
        return transcribe_frames(model, batches, tokenizer_of(processor))
    batches = clip_batches(
        replace(data, transcripts=None),
        processor.feature_extractor,
        tokenizer_of(processor),
        model.config,
        rate=rate_of(processor),
        batch_size=packing.size(task),
        max_length=LONGEST,
    )
    positions = int(getattr(model.config, "max_target_positions", None) or LONGEST)
    with quiet_transformers():  # it would tell of settings of the model's own generation_config.json
        return transcribe(model, batches, tokenizer_of(processor), longest=min(LONGEST, positions // 2))


def word_metrics(
    truth: Sequence[str] | None, said: Sequence[str], reference: Sequence[str] | None = None
) -> dict[str, float]:
    """Return the word error rate, and the share of a reference model's words that are the same.

    Args:
        truth: Right transcripts; None where they are not known.
        said: Transcripts of the model.
        reference: Transcripts of the model that it is compared with.
    """
    rate = None if truth is None else word_error_rate(truth, said)
    change = None if reference is None else word_error_rate(reference, said)
    found = {} if rate is None else {"word_error_rate": rate}
    return found if change is None else {**found, "same_words": max(0.0, 1 - change)}
