"""Bench: models of any kind side by side: time, throughput, memory, size and, on texts, how good the answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PretrainedConfig

from infoprune.errors import InputError
from infoprune.measuring.measure import Latency, example_batch, summarise, time_rounds
from infoprune.tasks.compare import between
from infoprune.tasks.evaluate import Evaluation, Progress, evaluate


@dataclass(frozen=True)
class Timed:
    """A model on batches of one shape.

    Args:
        model: its name.
        inputs: in a batch.
        tokens: of each input.
        latency_ms: of a batch: the median and the quartiles.
        per_second: inputs a second, by that median.
        speedup: over the first model, round by round: the median and the quartiles.
    """

    model: str
    inputs: int
    tokens: int
    latency_ms: Latency
    per_second: float
    speedup: Latency


@dataclass(frozen=True)
class Judged:
    """How good a model's answers are.

    Args:
        model: its name.
        metrics: name to value; empty where the inputs have no labels.
        agreement: share of inputs with the same answer as the first model; None where answers are numbers.
        kl: mean KL(first || this) in nats an input; None likewise.
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
    """Times models side by side in alternating runs, on random tokens without padding.

    Args:
        models: by name: PyTorch models with a config, and `OnnxModel`s.
        shapes: (inputs, tokens) of the batches.
        repeats: rounds for each shape; each runs every model once.
        progress: called with (shapes done, shapes in all).

    Raises:
        InputError: no model says what its inputs are, or a shape has more tokens than a model takes.

    Example:
        >>> time_models({"dense": model, "small": OnnxModel("small.onnx")}, [(32, 64)])[1].speedup.median
        2.6
    """
    config = common_config(models)
    for name, model in models.items():
        positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        for _, tokens in shapes:
            if isinstance(positions, int) and 0 < positions < tokens:
                raise InputError(f"{name} takes at most {positions} tokens, not {tokens}; pass --length {positions}")
    rows = []
    for done, (inputs, tokens) in enumerate(shapes, start=1):
        times = time_rounds(list(models.values()), example_batch(config, inputs, tokens), repeats=repeats)
        for name, taken in zip(models, times, strict=True):
            latency = summarise(taken)
            ratios = [first / this for first, this in zip(times[0], taken, strict=True)]
            rows.append(Timed(name, inputs, tokens, latency, 1000 * inputs / latency.median, summarise(ratios)))
        if progress is not None:
            progress(done, len(shapes))
    return rows


def judge_models(
    models: Mapping[str, nn.Module], batches: Sequence[Mapping[str, Tensor]], *, progress: Progress | None = None
) -> list[Judged]:
    """Scores classifiers on the same inputs, and compares each with the first.

    Args:
        models: by name; as in `time_models`.
        batches: as from `make_batches`, with labels or without.
        progress: called with (models done, models in all).
    """
    rows: list[Judged] = []
    first: Evaluation | None = None
    for done, (name, model) in enumerate(models.items(), start=1):
        answers = evaluate(model, batches)
        first = answers if first is None else first
        near = between(first, answers)
        rows.append(Judged(name, answers.metrics, near.agreement, near.kl))
        if progress is not None:
            progress(done, len(models))
    return rows


def common_config(models: Mapping[str, nn.Module]) -> PretrainedConfig:
    """The config of the model with the smallest vocabulary: inputs made from it suit all.

    Raises:
        InputError: none has a config.
    """
    configs = [config for model in models.values() if isinstance(config := model.config, PretrainedConfig)]
    if not configs:
        raise InputError(
            f"nothing says what {', '.join(models)} takes, expected a graph from infoprune export or a model's folder "
            "among them; add one"
        )
    return min(configs, key=lambda config: int(getattr(config, "vocab_size", 0)))
