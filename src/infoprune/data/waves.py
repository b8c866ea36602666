"""Waves: make batches of clips for models that read sound as it is, whose convolutions make frames of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from infoprune.data.clips import open_clip
from infoprune.data.lazy import LazyBatches
from infoprune.data.media import MediaData

LONGEST = 30.0
"""Seconds of a clip that are read: the memory of attention grows with the square of the length."""


def wave_batches(
    data: MediaData,
    extractor: Callable[..., Any],
    *,
    rate: int,
    least: int,
    batch_size: int,
    labels: Sequence[int] | None = None,
) -> LazyBatches:
    """Make batches of clips by the feature extractor of a model; the clips are read when a batch is.

    Args:
        data: The clips; of a longer one the first `LONGEST` seconds are read.
        extractor: Feature extractor of the model.
        rate: Samples per second that the model reads.
        least: Fewest samples of which the model makes a frame; shorter clips end in silence.
        batch_size: Clips per batch; the last batch may be smaller.
        labels: Number of the class of each clip.

    Returns:
        Batches of ``input_values`` and ``attention_mask`` (clips, samples), and ``labels`` where they are given.
    """

    def make(rows: Sequence[int]) -> dict[str, Tensor]:
        batch = waves(extractor, [open_clip(data.items[row], rate) for row in rows], rate, least)
        return batch if labels is None else {**batch, "labels": torch.tensor([labels[row] for row in rows])}

    starts = range(0, len(data), batch_size)
    return LazyBatches([range(start, min(start + batch_size, len(data))) for start in starts], make)


def waves(extractor: Callable[..., Any], sounds: Sequence[Any], rate: int, least: int) -> dict[str, Tensor]:
    """Return what a feature extractor makes of clips: the waves, and which of their samples are no padding."""
    numpy: Any = import_module("numpy")
    read = [sound[: int(LONGEST * rate)] for sound in sounds]
    filled = [numpy.pad(sound, (0, max(0, least - len(sound)))) for sound in read]
    made = extractor(filled, sampling_rate=rate, padding=True, return_attention_mask=True, return_tensors="pt")
    return {name: torch.as_tensor(made[name]) for name in ("input_values", "attention_mask")}
