"""Samples: look at the answers of the dense and the pruned model to some evaluation inputs."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

from transformers import PreTrainedModel

from infoprune.checkpoint import Preprocessor
from infoprune.data.media import Data, MediaData
from infoprune.data.pictures import open_picture
from infoprune.jobs.inputs import Packing
from infoprune.jobs.media import media_batches
from infoprune.jobs.speech import transcripts_of, word_metrics
from infoprune.reports.report import Report
from infoprune.reports.samples import Sample, Samples, among
from infoprune.sources.item import MediaItem
from infoprune.tasks.evaluate import evaluate
from infoprune.tasks.table import Task

LOOKED_AT = 256
"""Evaluation inputs that are looked at, evenly spread."""
THUMBNAIL = 96
"""Largest side of a small copy in pixels."""


def looked_at(
    report: Report,
    data: Data | None,
    task: Task,
    dense: PreTrainedModel,
    small: PreTrainedModel,
    preprocessor: Preprocessor,
    packing: Packing,
) -> tuple[Report, Samples]:
    """Return samples of pictures or clips with the answers of both models, and the report with metrics of their words.

    Args:
        report: Report of the cut.
        data: Evaluation inputs; for texts, without any, or where the answer has no name, nothing is shown.
        task: Task of the models.
        dense: Original model.
        small: Pruned model.
        preprocessor: What makes their inputs.
        packing: Batch size.
    """
    if not isinstance(data, MediaData) or task.truth == "none":
        return report, Samples()
    if task.truth == "labels":
        return report, _classified(data, task, dense, small, preprocessor, packing)
    before, after = (transcripts_of(model, data, task, preprocessor, packing) for model in (dense, small))
    truths = data.transcripts
    metrics = word_metrics(truths, before), word_metrics(truths, after, before)
    report = replace(
        report,
        dense=replace(report.dense, metrics={**report.dense.metrics, **metrics[0]}),
        pruned=replace(report.pruned, metrics={**report.pruned.metrics, **metrics[1]}),
    )
    rows = zip(data.items, before, after, truths or (None,) * len(data), strict=True)
    return report, among([Sample(item.name, first, second, truth) for item, first, second, truth in rows])


def _classified(
    data: MediaData,
    task: Task,
    dense: PreTrainedModel,
    small: PreTrainedModel,
    preprocessor: Preprocessor,
    packing: Packing,
) -> Samples:
    rows = data.among(range(0, len(data), -(-len(data) // LOOKED_AT)))
    batches = list(media_batches(rows, task, dense, preprocessor, packing))
    before, after = (evaluate(model, batches).logits for model in (dense, small))
    names = {str(number): str(name) for number, name in (dense.config.id2label or {}).items()}
    numbers = [[str(int(row)) for row in logits.argmax(-1)] for logits in (before, after)]
    answers = [[names.get(number, number) for number in each] for each in numbers]
    truths = rows.labels or (None,) * len(rows)
    found = among(
        [
            Sample(item.name, first, second, truth)
            for item, first, second, truth in zip(rows.items, *answers, truths, strict=True)
        ]
    )
    if task.reads != "pictures":
        return found
    items = {item.name: item for item in rows.items}
    return replace(found, shown=tuple(replace(each, picture=_thumbnail(items[each.name])) for each in found.shown))


def _thumbnail(item: MediaItem) -> str:
    """Return a small copy of a picture as a data URI."""
    picture = open_picture(item)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
