"""Clips: decode sound as a model's feature extractor takes it, and make batches of it with transcripts."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from infoprune.data.batches import IGNORED, padding_token
from infoprune.data.lazy import LazyBatches
from infoprune.data.media import MediaData
from infoprune.data.tokenizing import unchanged
from infoprune.errors import InputError, reason_of
from infoprune.files.extras import extra_module
from infoprune.sources.item import MediaItem


def speech_extra(module: str) -> Any:  # noqa: ANN401
    """Import a module of the extra [speech].

    Raises:
        InputError: It is not installed.
    """
    return extra_module(module, "speech", "speech")


def open_clip(item: MediaItem, rate: int) -> Any:  # noqa: ANN401
    """Decode a clip: one channel, the mean of all, at the sampling rate that a model reads.

    Args:
        item: The clip.
        rate: Samples per second.

    Returns:
        A numpy array of float32, (samples,).

    Raises:
        InputError: It is no sound, damaged, or without a sample.
    """
    soundfile = speech_extra("soundfile")
    content = item.load()
    try:
        sound, given = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except Exception as error:  # of libsndfile, by format
        why = "empty" if not content else reason_of(error, 80).removeprefix("Error opening ").split(">: ")[-1]
        raise InputError(
            f"{item.name} cannot be read as sound ({why}), expected an undamaged WAV, FLAC, OGG or MP3; remove or "
            "replace it"
        ) from None
    if not len(sound):
        raise InputError(f"{item.name} has no sample of sound, expected a clip of speech; remove it")
    numpy: Any = import_module("numpy")
    mono = numpy.nan_to_num(sound).mean(1)
    if given == rate:
        return mono
    common = math.gcd(given, rate)
    resampled = import_module("scipy.signal").resample_poly(mono, rate // common, given // common)
    return resampled.astype(numpy.float32)


def check_clips(data: MediaData, rate: int, longest: float) -> None:
    """Raise InputError where a clip cannot be read, before the work; warn where clips are longer than is read of them.

    Args:
        data: The clips.
        rate: Samples per second that the model reads.
        longest: Seconds of a clip that the model reads.
    """
    long = [item.name for item in data.items if len(open_clip(item, rate)) > longest * rate]
    if long:
        what = f"{long[0]} is" if len(long) == 1 else f"{len(long):,} clips, such as {long[0]}, are"
        warnings.warn(
            f"{what} longer than {longest:g} s, of which the first {longest:g} s are read; divide them, with their "
            "transcripts, into shorter ones",
            stacklevel=3,
        )


def clip_batches(
    data: MediaData,
    extractor: Callable[..., Any],
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    *,
    rate: int,
    batch_size: int,
    max_length: int,
) -> LazyBatches:
    """Make batches of clips by the feature extractor of a model; the clips are read when a batch is.

    Where there are transcripts, the decoder reads them, and predicts each of their tokens from those before it.

    Args:
        data: The clips.
        extractor: Feature extractor of the model.
        tokenizer: Its tokenizer.
        config: Its config, which specifies the start token of the decoder.
        rate: Samples per second that the model reads.
        batch_size: Clips per batch; the last batch may be smaller.
        max_length: Tokens at which a transcript is truncated.

    Returns:
        Batches of ``input_features`` (clips, mel bins, frames), and with transcripts of ``decoder_input_ids``,
        ``decoder_attention_mask`` and ``labels`` (clips, tokens).
    """
    written = None if data.transcripts is None else _written(data.transcripts, tokenizer, config, max_length)

    def make(rows: Sequence[int]) -> dict[str, Tensor]:
        sounds = [open_clip(data.items[row], rate) for row in rows]
        batch = {"input_features": features(extractor, sounds, rate)}
        if written is None:
            return batch
        return {**batch, **_decoded([written[row] for row in rows], tokenizer, config)}

    starts = range(0, len(data), batch_size)
    return LazyBatches([range(start, min(start + batch_size, len(data))) for start in starts], make)


def features(extractor: Callable[..., Any], sounds: Sequence[Any], rate: int) -> Tensor:
    """Return what a feature extractor makes of clips, (clips, mel bins, frames)."""
    return torch.as_tensor(extractor(list(sounds), sampling_rate=rate, return_tensors="pt")["input_features"])


def _written(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, max_length: int
) -> list[list[int]]:
    """Return the tokens of transcripts after the decoder's start token, with the one that ends a text."""
    with unchanged(tokenizer):
        rows: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    start, end = config.decoder_start_token_id, tokenizer.eos_token_id
    rows = [row[1:] if row[:1] == [start] else row for row in rows]
    return [row if end is None or row[-1:] == [end] else [*row[: max_length - 1], end] for row in rows]


def _decoded(
    rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> dict[str, Tensor]:
    start, pad = config.decoder_start_token_id, padding_token(tokenizer)

    def padded(values: Sequence[Sequence[int]], fill: int) -> Tensor:
        return pad_sequence([torch.tensor(row) for row in values], batch_first=True, padding_value=fill)

    return {
        "decoder_input_ids": padded([[start, *row[:-1]] for row in rows], pad),
        "decoder_attention_mask": padded([[1] * len(row) for row in rows], 0),
        "labels": padded(rows, IGNORED),
    }
