"""Calibration inputs: tokenised batches without labels, and what can be wrong with them."""

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PretrainedConfig

from infoprune.errors import InputError
from infoprune.measure import example_length
from infoprune.sites import Site

Batch = Mapping[str, Tensor]
Progress = Callable[[int, int], None]


def model_inputs(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """What is fed to the model: everything but the labels, on its device."""
    return {key: value.to(device) for key, value in batch.items() if key != "labels"}


def real_tokens(batch: Batch) -> Bool[Tensor, "batch length"]:
    """Which tokens are not padding; one entry for all patches of a picture, whose number the model alone knows."""
    if "attention_mask" in batch:
        return batch["attention_mask"].bool()
    first = next(iter(batch.values()))
    length = 1 if "pixel_values" in batch else first.shape[1]
    return torch.ones(len(first), length, dtype=torch.bool, device=first.device)


def typical_shape(batches: Sequence[Batch], config: PretrainedConfig) -> tuple[int, int]:
    """(inputs, tokens) of a batch that stands for all: the largest number of inputs, and the length with padding.

    The length is averaged over tokens: the share of the FLOPs that grows with the square of the length is then that of
    all batches together. For pictures it is the number of patches.

    Example:
        >>> typical_shape(make_batches(read_texts("reviews.csv"), tokenizer), model.config)
        (32, 31)
    """
    shapes = [real_tokens(batch).shape for batch in batches]
    tokens = sum(inputs * length for inputs, length in shapes)
    length = round(sum(inputs * length**2 for inputs, length in shapes) / tokens)
    return max(inputs for inputs, _ in shapes), example_length(config, length)


def check_batches(batches: Sequence[Batch]) -> None:
    """Raises InputError where there is nothing to calibrate on."""
    if len(batches) == 0:
        raise InputError("there are no calibration inputs, expected at least one batch; pass some texts")
    if not any(bool(real_tokens(batch).any()) for batch in batches):
        raise InputError(
            "all calibration tokens are padding, expected at least one real token; check the attention masks"
        )


def check_finite_weights(model: nn.Module) -> None:
    """Raises InputError, naming the parameter, where a weight is NaN or infinite."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InputError(
                f"weight {name} holds NaN or infinite values, expected finite numbers; check the checkpoint"
            )


def warn_few_tokens(sites: Sequence[Site], batches: Sequence[Batch]) -> None:
    """Warns where there are fewer calibration tokens than a reader has inputs; shrinkage keeps the result finite."""
    if any("pixel_values" in batch for batch in batches):
        return
    tokens = sum(int(real_tokens(batch).sum()) for batch in batches)
    widest = max(sites, key=lambda site: site.units * site.size)
    inputs = widest.units * widest.size
    if tokens < inputs:
        warnings.warn(
            f"{tokens} calibration tokens for the {inputs} inputs of {widest.reader}, expected more than inputs: "
            "only shrinkage holds the statistics up; pass more or longer texts",
            stacklevel=3,
        )
