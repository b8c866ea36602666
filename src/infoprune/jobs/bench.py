"""Bench: the job of `infoprune bench`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.checkpoint import load
from infoprune.data.media import Data, MediaData
from infoprune.errors import InputError
from infoprune.files.model_folder import read_config
from infoprune.jobs.inputs import (
    Batches,
    Columns,
    Packing,
    StrPath,
    Texts,
    check_positive,
    device_named,
    stage,
)
from infoprune.jobs.models import chosen_task, open_tokenizer
from infoprune.jobs.preprocessors import open_image_processor, open_processor
from infoprune.jobs.tasks import eval_batches_of, read
from infoprune.measuring.measure import count_bytes, example_batch
from infoprune.pipeline.clock import StageProgress
from infoprune.serving.bench import Evaluated, Timed, common_config, evaluate_models, time_models
from infoprune.serving.memory import peak_memory
from infoprune.serving.onnx_model import SUFFIX, OnnxModel, extra
from infoprune.sources.models import model_folder
from infoprune.statistics.padding import use_padding_of
from infoprune.tasks.table import Task


@dataclass(frozen=True)
class Load:
    """Batches and rounds of a benchmark.

    Args:
        batch_sizes: Inputs per batch.
        lengths: Tokens per input; every batch size is timed with every length.
        repeats: Timed rounds for each shape.
        threads: Threads of a model on the CPU; None means as many as PyTorch uses.
        memory: Whether to measure the peak memory too, in a new process for each model.

    Raises:
        InputError: A number is below 1, or a list is empty.
    """

    batch_sizes: Sequence[int] = (1, 32)
    lengths: Sequence[int] = (64,)
    repeats: int = 20
    threads: int | None = None
    memory: bool = True

    def __post_init__(self) -> None:
        for option, numbers in (("batch_size", self.batch_sizes), ("length", self.lengths)):
            if not numbers:
                raise InputError(f"`{option}` is empty, expected numbers; pass e.g. `{option}=32`")
            for number in numbers:
                check_positive(option, number)
        check_positive("repeats", self.repeats)
        if self.threads is not None:
            check_positive("threads", self.threads)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(inputs, tokens) of the batches."""
        return [(inputs, tokens) for tokens in self.lengths for inputs in self.batch_sizes]


@dataclass(frozen=True)
class EvalTexts:
    """Texts or pictures on which classifiers are scored and compared.

    Args:
        eval: Evaluation texts or pictures, with labels or without.
        columns: Their columns.
        packing: Batch size and length.
    """

    eval: Texts
    columns: Columns = field(default_factory=Columns)
    packing: Packing = field(default_factory=Packing)


@dataclass(frozen=True)
class Benchmark:
    """Result of a benchmark.

    Args:
        device: Device of PyTorch.
        threads: Threads of a model on the CPU.
        repeats: Timed rounds for each shape.
        bytes: Size of each model's weights, or of its .onnx file, on disk.
        peak_memory: Peak memory in bytes of loading each model and running it on the largest batch, beyond that of the
            libraries; None where it was not measured.
        timed: Timing of each model on each shape.
        evaluated: Metrics of each model on the texts; empty without texts.
    """

    device: str
    threads: int
    repeats: int
    bytes: dict[str, int]
    peak_memory: dict[str, int | None]
    timed: list[Timed]
    evaluated: list[Evaluated]


def bench_models(
    paths: Sequence[StrPath],
    work: Load | None = None,
    *,
    eval_texts: EvalTexts | None = None,
    device: str = "auto",
    progress: StageProgress | None = None,
) -> Benchmark:
    """Compare models in folders and .onnx files with the first of them.

    Args:
        paths: Folders of dense or pruned models, names of models on the hub, and .onnx files.
        work: Batches, lengths and rounds.
        eval_texts: Texts or pictures on which the models are scored; needs a folder of a model among the models.
        device: Device of PyTorch: "auto", "cpu", "cuda", "mps"; with .onnx files all models run on the CPU.
        progress: Called with (stage, done, of).

    Raises:
        InputError: A model or an option is not valid; the message gives the remedy.

    Examples:
        >>> bench_models(["my-classifier", "half", "half.onnx"]).timed[1].speedup.median
        1.9
    """
    work = work or Load()
    names = [str(path) for path in paths]
    if not names or len(set(names)) < len(names):
        raise InputError(f"the models are {', '.join(names) or 'none'}, expected different ones; pass each once")
    graphs = any(name.endswith(SUFFIX) for name in names)
    torch_device = device_named("cpu" if graphs and device == "auto" else device)
    if graphs and torch_device.type != "cpu":
        raise InputError(f"`device` is {device}, expected cpu where {SUFFIX} files are among the models; leave it out")
    folder = next((name for name in names if not name.endswith(SUFFIX)), "")
    places = {name: name if name.endswith(SUFFIX) else str(model_folder(name, progress=progress)) for name in names}
    if eval_texts is not None:
        if not folder:
            raise InputError(
                "`eval` needs a tokenizer, expected a folder among the models; add the folder that was exported"
            )
        task = chosen_task(places[folder])
        if task.truth != "labels":
            raise InputError(
                f"`eval` was given, and {folder} is for {task.name}, expected a classifier; leave `eval` out to time "
                "the models, and score them with infoprune evaluate"
            )
        texts = read(task, eval_texts.columns, eval_texts.eval, scored=True, split="validation", progress=progress)
    with _threads(work.threads) as threads:
        models = {name: open_any(place, torch_device) for name, place in places.items()}
        evaluated: list[Evaluated] = []
        if eval_texts is not None:
            evaluated = evaluate_models(
                models,
                _eval_batches(models, folder, places[folder], task, texts, eval_texts.packing),
                progress=stage("evaluate", progress),
            )
        timed = time_models(models, work.shapes, repeats=work.repeats, progress=stage("time", progress))
    peaks: dict[str, int | None] = dict.fromkeys(names)
    if work.memory and torch_device.type == "cpu":
        largest = example_batch(common_config(models), *max(work.shapes, key=lambda shape: shape[0] * shape[1]))
        models.clear()  # the memory may not hold two of them
        for done, name in enumerate(names):
            if progress is not None:
                progress("memory", done, len(names))
            measure = partial(_open_and_answer, places[name], largest, threads)
            peaks[name] = peak_memory(partial(_import_libraries, places[name]), measure)
    sizes = {
        name: Path(place).stat().st_size if name.endswith(SUFFIX) else count_bytes(place)
        for name, place in places.items()
    }
    return Benchmark(str(torch_device), threads, work.repeats, sizes, peaks, timed, evaluated)


def open_any(path: StrPath, device: torch.device) -> nn.Module:
    """Load a dense or pruned model from a folder, or a graph from an .onnx file."""
    if str(path).endswith(SUFFIX):
        return OnnxModel(path)  # with as many threads as PyTorch has
    read_config(path)
    model = load(path)
    model.to(device)  # type: ignore[arg-type]
    return model


def _eval_batches(
    models: Mapping[str, nn.Module], first: str, folder: StrPath, task: Task, data: Data, packing: Packing
) -> Batches:
    model = cast(PreTrainedModel, models[first])
    if isinstance(data, MediaData):
        pictures = task.reads == "pictures"
        processor = open_image_processor(folder) if pictures else open_processor(folder, writes=False)
        return eval_batches_of(data, task, model, processor, packing, 0)
    tokenizer = open_tokenizer(folder)
    for each in models.values():
        if isinstance(each, PreTrainedModel):
            use_padding_of(tokenizer, each)
    return eval_batches_of(data, task, model, tokenizer, packing, 0)


@contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    """Set the number of PyTorch's threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _import_libraries(path: str) -> None:
    if path.endswith(SUFFIX):
        extra("onnxruntime")
    else:
        getattr(transformers, read_config(path)["architectures"][0])


def _open_and_answer(path: str, batch: Mapping[str, Tensor], threads: int) -> None:
    torch.set_num_threads(threads)
    model = open_any(path, torch.device("cpu"))
    with torch.inference_mode():
        model(**batch)
