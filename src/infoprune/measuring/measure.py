"""Measure: the parameters, bytes, FLOPs and time of a model."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PretrainedConfig

from infoprune.errors import InputError
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.offload import is_offloaded

_WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt")


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass in milliseconds.

    Args:
        median: Median of the timed runs.
        low: Lower quartile.
        high: Upper quartile.
    """

    median: float
    low: float
    high: float


def count_parameters(model: nn.Module) -> int:
    """Count a model's parameters; those that modules share count once.

    Examples:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters())


def count_bytes(model: nn.Module | str | Path) -> int:
    """Count the bytes of a model's weights, in memory or in a checkpoint folder.

    Args:
        model: A model (its parameters and buffers; shared ones count once), or a folder (its weight files).

    Raises:
        InputError: The folder has no weight file.

    Examples:
        >>> count_bytes(nn.Linear(3, 2))
        32
    """
    if isinstance(model, nn.Module):
        tensors = [*model.parameters(), *model.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    files = [file for pattern in _WEIGHT_FILES for file in Path(model).glob(pattern)]
    if not files:
        raise InputError(f"{model}: no weight file ({', '.join(_WEIGHT_FILES)}); pass the folder of a saved model")
    return sum(file.stat().st_size for file in files)


def count_flops(model: nn.Module, batch: Mapping[str, Tensor]) -> int:
    """Count the floating-point operations of one forward pass, a multiplication with its addition as two.

    Matrix products and attention count, as is usual; normalisations and activations do not. Padding counts as text
    does, and causal attention as full attention.

    Args:
        model: The model; it runs once on its own device, and its mode is restored afterwards.
        batch: Its inputs; ``labels`` is left out.

    Examples:
        >>> count_flops(model, example_batch(model.config, batch_size=1, length=128))
        2869200384
    """
    inputs = _inputs(model, batch)
    with (
        evaluation_mode(model, freeze=True),  # the counter fails where a parameter goes from module to module
        torch.no_grad(),
        FlopCounterMode(display=False, custom_mapping=_UNKNOWN_PRODUCTS) as counter,
    ):
        model(**inputs)
    return int(counter.get_total_flops())


def measure_latency(
    models: Sequence[nn.Module], batch: Mapping[str, Tensor], *, repeats: int = 10, warmup: int = 2
) -> list[Latency]:
    """Time the forward pass of models side by side, in alternating runs, so that a busy machine slows all alike.

    Args:
        models: The models; each runs on its own device, and its mode is restored afterwards.
        batch: The inputs of all; ``labels`` is left out.
        repeats: Timed rounds; each runs every model once.
        warmup: Rounds before these, not timed.

    Returns:
        A latency for each model, in milliseconds a batch.

    Raises:
        ValueError: ``repeats`` is below 1 or ``warmup`` below 0.

    Examples:
        >>> dense, pruned = measure_latency([model, small], batch)
        >>> dense.median / pruned.median
        1.93
    """
    return [summarise(taken) for taken in time_rounds(models, batch, repeats=repeats, warmup=warmup)]


def time_rounds(
    models: Sequence[nn.Module], batch: Mapping[str, Tensor], *, repeats: int = 10, warmup: int = 2
) -> list[list[float]]:
    """Return every time that `measure_latency` summarises, in milliseconds: for each model one time per round.

    The least of them is the best estimate of a model's time on a machine that runs nothing else.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(
            f"repeats={repeats}, warmup={warmup}: expected repeats >= 1 and warmup >= 0; pass e.g. 10 and 2"
        )
    inputs = [_inputs(model, batch) for model in models]
    times: list[list[float]] = [[] for _ in models]
    with evaluation_mode(*models), torch.inference_mode():
        for _ in range(warmup + repeats):
            for model, given, taken in zip(models, inputs, times, strict=True):
                taken.append(_milliseconds(model, given))
    return [taken[warmup:] for taken in times]


def summarise(times: Sequence[float]) -> Latency:
    """Return the median of some times and the quartiles around it, in their unit.

    Examples:
        >>> summarise([3.0, 1.0, 2.0])
        Latency(median=2.0, low=1.5, high=2.5)
    """
    if len(times) == 1:
        return Latency(median=times[0], low=times[0], high=times[0])
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Latency(median=median, low=low, high=high)


def example_batch(
    config: PretrainedConfig, batch_size: int = 32, length: int = 64, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Return random inputs, the same at every call, to count and time: tokens without padding, pictures or sound.

    Args:
        config: The model's configuration, for its vocabulary, or the size of its pictures or of its sound.
        batch_size: Inputs.
        length: Tokens of each; pictures ignore it, and for sound these are the tokens of the decoder, or the frames.
        device: Device of the tensors.

    Returns:
        ``input_ids`` and ``attention_mask``, both (batch_size, length), for an encoder-decoder ``decoder_input_ids``
        too; ``pixel_values``, with these or alone; ``input_features`` with ``decoder_input_ids``; or ``input_values``.

    Examples:
        >>> example_batch(model.config, batch_size=2, length=5)["attention_mask"].shape
        torch.Size([2, 5])
    """
    generator = torch.Generator().manual_seed(0)
    pictures = {}
    if (seen := config_of_pictures(config)) is not None:
        shape = (batch_size, seen.num_channels, *_pair(seen.image_size))
        pictures = {"pixel_values": torch.randn(shape, generator=generator).to(device)}
        if seen is config:
            return pictures
    if takes_waves(config):
        waves = torch.randn(batch_size, count_samples(config, length), generator=generator)
        return {"input_values": waves.to(device)}
    ids = torch.randint(0, config.get_text_config().vocab_size, (batch_size, length), generator=generator)
    if takes_sound(config):
        sound = torch.randn(batch_size, config.num_mel_bins, 2 * config.max_source_positions, generator=generator)
        return {"input_features": sound.to(device), "decoder_input_ids": ids.to(device)}
    batch = {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids, device=device), **pictures}
    return {**batch, "decoder_input_ids": batch["input_ids"]} if config.is_encoder_decoder else batch


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's inputs: that of its parameters; the CPU for ONNX models and offloaded weights."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None or is_offloaded(model) else parameter.device


def config_of_pictures(config: PretrainedConfig) -> PretrainedConfig | None:
    """Return the config with the size of a model's pictures: its own, or one within it; else None.

    None too for a model of texts that may hold pictures: they are read as some of its tokens.
    """
    if getattr(config, "image_token_id", None) is not None:
        return None
    inner: PretrainedConfig = getattr(config, "vision_config", config)
    sized = all(getattr(inner, name, None) is not None for name in ("image_size", "patch_size"))
    return inner if sized else None


def takes_pictures(config: PretrainedConfig) -> bool:
    """Return whether a model's inputs are pictures alone."""
    return config_of_pictures(config) is config


def takes_sound(config: PretrainedConfig) -> bool:
    """Return whether a model's inputs are sound: columns of mel bins, two of which make a frame."""
    return hasattr(config, "num_mel_bins") and hasattr(config, "max_source_positions")


def takes_waves(config: PretrainedConfig) -> bool:
    """Return whether a model's inputs are sound waves, of which convolutions make frames."""
    return all(getattr(config, name, None) is not None for name in ("conv_kernel", "conv_stride"))


def count_frames(config: PretrainedConfig, samples: int) -> int:
    """Return the number of frames that convolutions make of some samples of a sound wave.

    Examples:
        >>> count_frames(Wav2Vec2Config(), 16000)
        49
    """
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def count_samples(config: PretrainedConfig, frames: int) -> int:
    """Return the fewest samples of which convolutions make so many frames."""
    for kernel, stride in reversed([*zip(config.conv_kernel, config.conv_stride, strict=True)]):
        frames = (frames - 1) * stride + kernel
    return frames


def example_length(config: PretrainedConfig, length: int) -> int:
    """Return the tokens of an example input: `length`, at most the model's positions; for a picture its patches + 1.

    Where the encoder reads sound, these are the tokens of the decoder.
    """
    if takes_pictures(config):
        picture, patch = _pair(config.image_size), _pair(config.patch_size)
        return (picture[0] // patch[0]) * (picture[1] // patch[1]) + 1
    name = "max_target_positions" if takes_sound(config) else "max_position_embeddings"
    positions = getattr(config.get_text_config() if config_of_pictures(config) else config, name, None)
    # no number, 0 or -1 where positions are relative or rotary
    return min(length, positions) if isinstance(positions, int) and positions > 0 else length


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    inputs, heads, queries, size = query
    return 2 * inputs * heads * queries * key[-2] * (size + value[-1])


def _grouped_flops(rows: Sequence[int], matrices: Sequence[int], *_: object, **__: object) -> int:
    return 2 * rows[0] * rows[1] * matrices[-1]


# PyTorch's counter supports the fused attention of GPUs but not the CPU's, nor the products of tokens with the experts
# that they read, which it would all count as 0.
_UNKNOWN_PRODUCTS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}
if "_grouped_mm" in dir(torch.ops.aten):  # torch 2.8 and newer
    _UNKNOWN_PRODUCTS[torch.ops.aten._grouped_mm] = _grouped_flops


def _inputs(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch on the model's device, without labels; pictures and sound in the model's precision.

    A class with the tower of pictures alone takes no texts, though its config describes both.
    """
    device, dtype = device_of(model), getattr(model, "dtype", None)
    alone = "pixel_values" in batch and "input_ids" not in signature(model.forward).parameters
    return {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None)
        for name, tensor in batch.items()
        if name == "pixel_values" or (name != "labels" and not alone)
    }


def _milliseconds(model: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    device = next(iter(inputs.values())).device
    _synchronize(device)
    start = time.perf_counter()
    model(**inputs)
    _synchronize(device)
    return 1000 * (time.perf_counter() - start)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
