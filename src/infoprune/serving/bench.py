"""Bench: time, throughput and, on texts, accuracy of several models, PyTorch or ONNX, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import Latency, example_batch, example_length, summarise, time_rounds
from infoprune.structure.positions import position_limit
from infoprune.tasks.compare import between
from infoprune.tasks.evaluate import Evaluation, Progress, evaluate


@dataclass(frozen=True)
class Timed:
    """Timing of a model on batches of one shape.

    Args:
        model: Name of the model.
        inputs: Inputs per batch.
        tokens: Tokens per input.
        latency_ms: Latency of a batch in ms: median and quartiles.
        per_second: Inputs per second, by that median.
        speedup: Speed-up over the first model, round by round: median and quartiles.
    """

    model: str
    inputs: int
    tokens: int
    latency_ms: Latency
    per_second: float
    speedup: Latency


@dataclass(frozen=True)
class Evaluated:
    """Metrics of a model, and its agreement with the first one.

    Args:
        model: Name of the model.
        metrics: Name to value; empty where the inputs have no labels.
        agreement: Share of inputs with the same answer as the first model; None where outputs are numbers.
        kl: Mean KL(first || this) in nats per input; None likewise.
    """

    model: str
    metrics: Mapping[str, float]
    agreement: float | None
    kl: float | None


def time_models(
    models: Mapping[str, nn.Module],
    shapes: Sequence[tuple[int, int]],
    *,
    repeats: int = 20,
    progress: Progress | None = None,
) -> list[Timed]:
    """Time models side by side in alternating runs, on random inputs without padding.

    Args:
        models: Models by name: PyTorch models with a config, and `OnnxModel`s.
        shapes: (inputs, tokens) of the batches.
        repeats: Rounds for each shape; each runs every model once.
        progress: Called with (shapes done, shapes in total).

    Raises:
        InputError: No model has a config, or a shape has more tokens than a model supports.

    Examples:
        >>> time_models({"dense": model, "small": OnnxModel("small.onnx")}, [(32, 64)])[1].speedup.median
        2.6
    """
    config = common_config(models)
    for name, model in models.items():
        positions = position_limit(model) if isinstance(model, PreTrainedModel) else None
        positions = positions or getattr(getattr(model, "config", None), "max_position_embeddings", None)
        for _, tokens in shapes:
            if isinstance(positions, int) and 0 < positions < tokens:
                raise InputError(
                    f"`length` is {tokens}, expected at most the {positions} positions of {name}; "
                    f"pass `length={positions}`"
                )
    rows = []
    # Pictures have as many tokens as patches, whatever length is asked for.
    shapes = list(dict.fromkeys((inputs, example_length(config, tokens)) for inputs, tokens in shapes))
    for done, (inputs, tokens) in enumerate(shapes, start=1):
        times = time_rounds(list(models.values()), example_batch(config, inputs, tokens), repeats=repeats)
        for name, taken in zip(models, times, strict=True):
            latency = summarise(taken)
            ratios = [first / this for first, this in zip(times[0], taken, strict=True)]
            rows.append(Timed(name, inputs, tokens, latency, 1000 * inputs / latency.median, summarise(ratios)))
        if progress is not None:
            progress(done, len(shapes))
    return rows


def evaluate_models(
    models: Mapping[str, nn.Module], batches: Sequence[Mapping[str, Tensor]], *, progress: Progress | None = None
) -> list[Evaluated]:
    """Score classifiers on the same inputs, and compare each with the first.

    Args:
        models: Models by name, as in `time_models`.
        batches: Batches as from `make_batches`, with labels or without.
        progress: Called with (models done, models in total).

    Raises:
        InputError: The models have different numbers of tokens or outputs.
    """
    _check_alike(models)
    rows: list[Evaluated] = []
    first: Evaluation | None = None
    for done, (name, model) in enumerate(models.items(), start=1):
        answers = evaluate(model, batches)
        first = answers if first is None else first
        near = between(first, answers)
        rows.append(Evaluated(name, answers.metrics, near.agreement, near.kl))
        if progress is not None:
            progress(done, len(models))
    return rows


def _check_alike(models: Mapping[str, nn.Module]) -> None:
    """Raise InputError where the tokens of one model are not those of another, or the answers cannot be compared."""
    known = {name: config for name, model in models.items() if isinstance(config := model.config, PretrainedConfig)}
    for field, what in (("vocab_size", "tokens"), ("num_labels", "outputs")):
        sizes = {name: getattr(config, field, None) for name, config in known.items()}
        if len(set(sizes.values())) > 1:
            each = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise InputError(
                f"the models have different {what} ({each}), expected the same for scores on one set of texts; leave "
                "`eval` out to time them"
            )


def common_config(models: Mapping[str, nn.Module]) -> PretrainedConfig:
    """Return the config of the model with the smallest vocabulary: inputs made from it are valid for all.

    Raises:
        InputError: No model has a config.
    """
    configs = [config for model in models.values() if isinstance(config := model.config, PretrainedConfig)]
    if not configs:
        raise InputError(
            f"the inputs of {', '.join(models)} are not known, expected a graph from infoprune export or a model's "
            "folder among the models; add one"
        )
    return min(configs, key=lambda config: int(getattr(config, "vocab_size", 0)))
