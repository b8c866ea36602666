"""Media: what a job does with pictures and clips where it would otherwise have texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from transformers import PreTrainedModel

from infoprune.checkpoint import Preprocessor
from infoprune.data.lazy import LazyBatches
from infoprune.data.media import MediaData
from infoprune.data.pictures import check_pictures, picture_batches
from infoprune.jobs.inputs import Packing
from infoprune.jobs.preprocessors import channels_of
from infoprune.tasks.table import Task


def media_batches(
    data: MediaData,
    task: Task,
    model: PreTrainedModel,
    preprocessor: Preprocessor,
    packing: Packing,
    labels: Sequence[int] | Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> LazyBatches:
    """Make batches of pictures that are read when they are needed; all are opened once now, so that none is damaged.

    Args:
        data: The pictures.
        task: Task of the model.
        model: The model.
        preprocessor: Its image processor.
        packing: Batch size.
        labels: A target for each picture.

    Raises:
        InputError: One of them cannot be read.
    """
    channels = channels_of(model)
    check_pictures(data, channels)
    processor = cast(Any, preprocessor)
    return picture_batches(data, processor, channels=channels, batch_size=packing.size(task), labels=labels)
