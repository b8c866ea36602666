"""Preprocessors: what turns pictures or clips into a model's inputs, opened beside the model and saved with the result.

That of texts is the tokenizer, see `jobs/models.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from infoprune.checkpoint import Preprocessor
from infoprune.data.clips import features, speech_extra
from infoprune.data.pictures import pillow, prepared
from infoprune.data.waves import LONGEST, waves
from infoprune.errors import InputError, reason_of
from infoprune.files.json_file import read_text
from infoprune.jobs.inputs import StrPath
from infoprune.measuring.measure import count_samples, device_of, takes_waves
from infoprune.structure.modes import evaluation_mode
from infoprune.training.trainer import quiet_transformers

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"


def open_image_processor(folder: StrPath) -> Preprocessor:
    """Load the image processor beside a model.

    Raises:
        InputError: Pillow is not installed, there is no image processor, or it cannot be read.
    """
    pillow()
    return _opened(folder, AutoImageProcessor, "image processor", "one that fits the model", lambda processor: None)


def try_image_processor(folder: StrPath, model: PreTrainedModel, processor: Any) -> None:  # noqa: ANN401
    """Raise InputError where the model does not take the pictures that its image processor makes.

    Args:
        folder: Folder of both, for the message.
        model: The model.
        processor: Its image processor.
    """
    channels = channels_of(model)
    mode = {1: "L", 4: "RGBA"}.get(channels, "RGB")
    try:
        pixels = prepared(processor, [pillow().new(mode, (40, 30))])
        with evaluation_mode(model), torch.no_grad():
            model(pixel_values=pixels.to(device_of(model), model.dtype))
    except Exception as error:  # of the processor, or of any module of the model
        raise InputError(
            f"{folder}: the model does not take what its image processor makes of a picture ({reason_of(error)}), "
            f"expected {channels} channels and a size that fits; correct {PREPROCESSOR}"
        ) from None


def open_processor(folder: StrPath, *, writes: bool = True) -> Preprocessor:
    """Load the processor beside a model of sound: its feature extractor, and the tokenizer of what it writes.

    Args:
        folder: Folder of both.
        writes: Whether the model writes transcripts; otherwise there is a feature extractor alone.

    Raises:
        InputError: The extra [speech] is not installed, there is no processor, or it cannot be read.
    """
    for module in ("soundfile", "jiwer") if writes else ("soundfile",):
        speech_extra(module)
    if not writes:
        return _opened(folder, AutoFeatureExtractor, "feature extractor", "one that fits the model", _check_rate)

    def check(processor: Preprocessor) -> None:
        if len(tokenizer_of(processor)) <= len(set(tokenizer_of(processor).all_special_ids)):
            raise ValueError("its tokenizer knows no tokens but special ones")
        _check_rate(processor)

    parts = "a feature extractor and a tokenizer that fit the model"
    return _opened(folder, AutoProcessor, "processor", parts, check)


def try_processor(folder: StrPath, model: PreTrainedModel, processor: Any) -> None:  # noqa: ANN401
    """Raise InputError where the model does not take the features that its feature extractor makes.

    Args:
        folder: Folder of both, for the message.
        model: The model.
        processor: Its processor.
    """
    reads_waves = takes_waves(model.config)
    try:
        silence, extractor, rate = torch.zeros(rate_of(processor)).numpy(), extractor_of(processor), rate_of(processor)
        with evaluation_mode(model), torch.no_grad():
            if reads_waves:
                sound = waves(extractor, [silence], rate, count_samples(model.config, 1))["input_values"]
                model(input_values=sound.to(device_of(model), model.dtype))
            else:
                model.get_encoder()(features(extractor, [silence], rate).to(device_of(model), model.dtype))
    except Exception as error:  # of the feature extractor, or of any module of the model
        raise InputError(
            f"{folder}: the model does not take what its feature extractor makes of a clip ({reason_of(error)}), "
            f"expected {'sound waves' if reads_waves else 'as many mel bins and frames'}; correct {PREPROCESSOR}"
        ) from None


def tokenizer_of(processor: Any) -> PreTrainedTokenizerBase:  # noqa: ANN401
    """Return the tokenizer of a processor."""
    tokenizer: PreTrainedTokenizerBase = processor.tokenizer
    return tokenizer


def extractor_of(processor: Any) -> Any:  # noqa: ANN401
    """Return the feature extractor of a processor, or what is one itself."""
    return processor.feature_extractor if isinstance(processor, ProcessorMixin) else processor


def rate_of(processor: Any) -> int:  # noqa: ANN401
    """Return the samples per second that a processor takes."""
    return int(extractor_of(processor).sampling_rate)


def _check_rate(processor: Any) -> None:  # noqa: ANN401
    """Raise AttributeError where a processor does not say what rate it takes."""
    rate_of(processor)


def seconds_of(processor: Any) -> float:  # noqa: ANN401
    """Return the seconds of a clip that are read: those that a processor keeps, where it has a limit."""
    rate = rate_of(processor)
    return float(getattr(extractor_of(processor), "n_samples", LONGEST * rate) / rate)


def channels_of(model: PreTrainedModel) -> int:
    """Return the number of channels of the pictures that a model reads."""
    return int(getattr(model.config, "num_channels", None) or 3)


def _opened(
    folder: StrPath,
    auto: Any,  # noqa: ANN401
    what: str,
    expected: str,
    check: Callable[[Preprocessor], None],
) -> Preprocessor:
    """Load what an automatic class finds in a folder, and check it."""
    _check_there(folder, what, f"{auto.__name__}.from_pretrained(...).save_pretrained")
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            processor: Preprocessor = auto.from_pretrained(folder, trust_remote_code=False)
            check(processor)
    except Exception as error:  # the errors of a broken processor depend on its class
        raise InputError(
            f"{folder}: the {what} cannot be read ({reason_of(error)}), expected {expected}; "
            "save it again with its save_pretrained"
        ) from error
    return processor


def _check_there(folder: StrPath, what: str, call: str) -> None:
    file = next((file for name in (PREPROCESSOR, PROCESSOR) if (file := Path(folder) / name).is_file()), None)
    if file is None:
        raise InputError(
            f"{folder} has no {what} ({PREPROCESSOR}), expected one beside the model; save it there with {call}"
        )
    read_text(file, f"save the {what} again")
