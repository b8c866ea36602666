"""Media: what a job does with pictures and clips where it would otherwise have texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedModel

from infoprune.checkpoint import Preprocessor
from infoprune.data.clips import check_clips, clip_batches
from infoprune.data.lazy import LazyBatches
from infoprune.data.media import MediaData
from infoprune.data.pictures import check_pictures, picture_batches
from infoprune.data.waves import wave_batches
from infoprune.jobs.inputs import Packing
from infoprune.jobs.preprocessors import channels_of, extractor_of, rate_of, seconds_of, tokenizer_of
from infoprune.measuring.measure import count_samples, takes_waves
from infoprune.statistics.calibration import with_frames, with_targets
from infoprune.tasks.table import Task
from infoprune.training.trainer import quiet_transformers


def media_batches(
    data: MediaData,
    task: Task,
    model: PreTrainedModel,
    preprocessor: Preprocessor,
    packing: Packing,
    labels: Sequence[int] | Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> LazyBatches:
    """Make batches that are read when they are needed; all files are opened once now, so that none is damaged.

    Args:
        data: The pictures or clips.
        task: Task of the model.
        model: The model.
        preprocessor: Its image processor, or its processor.
        packing: Batch size, and length of transcripts.
        labels: A target for each picture or clip.

    Raises:
        InputError: One of them cannot be read.
    """
    processor, size = cast(Any, preprocessor), packing.size(task)
    if task.reads == "pictures":
        check_pictures(data, channels_of(model))
        return picture_batches(data, processor, channels=channels_of(model), batch_size=size, labels=labels)
    check_clips(data, rate_of(processor), seconds_of(processor))
    if takes_waves(model.config):
        return of_waves(data, model, processor, size, cast(Sequence[int] | None, labels))
    tokenizer = tokenizer_of(processor)
    length = int(getattr(model.config, "max_target_positions", None) or tokenizer.model_max_length)
    batches = clip_batches(
        data,
        processor.feature_extractor,
        tokenizer,
        model.config,
        rate=rate_of(processor),
        batch_size=size,
        max_length=min(length, packing.max_length or length),
    )
    return batches if data.transcripts is not None else _with_own_targets(model, batches)


def of_waves(
    data: MediaData,
    model: PreTrainedModel,
    processor: Any,  # noqa: ANN401
    size: int,
    labels: Sequence[int] | None = None,
) -> LazyBatches:
    """Make batches of sound waves, with the mask of the samples only where the model was trained with it.

    Args:
        data: The clips.
        model: Model that reads them.
        processor: Its processor, or its feature extractor.
        size: Clips per batch.
        labels: Number of the class of each.
    """
    extractor, config = extractor_of(processor), model.config
    least = count_samples(config, 1)
    batches = wave_batches(data, extractor, rate=rate_of(processor), least=least, batch_size=size, labels=labels)

    def fitting(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        framed = dict(with_frames(batch, config))
        if not extractor.return_attention_mask:
            del framed["attention_mask"]
        return framed

    return batches.then(fitting)


def _with_own_targets(model: PreTrainedModel, batches: LazyBatches) -> LazyBatches:
    """Return batches with the transcripts that the model writes itself: once, and not at every use."""
    written = []
    with quiet_transformers():  # it would tell of settings of the model's own generation_config.json
        for batch in batches:
            (full,) = with_targets(model, [batch])
            written.append({name: value for name, value in full.items() if name not in batch})
    make = batches.make
    pairs = list(zip(batches.parts, written, strict=True))
    return LazyBatches(pairs, lambda pair: {**make(pair[0]), **pair[1]})
