"""The job of `infoprune bench`."""

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

from infoprune.checkpoint import load, read_config
from infoprune.clock import StageProgress
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.jobs.inputs import (
    Columns,
    Packing,
    StrPath,
    check_positive,
    device_named,
)
from infoprune.jobs.models import chosen_task, open_tokenizer
from infoprune.jobs.tasks import targets
from infoprune.measuring.measure import count_bytes, example_batch
from infoprune.serving.bench import Judged, Timed, common_config, judge_models, time_models
from infoprune.serving.memory import peak_memory
from infoprune.serving.onnx_model import SUFFIX, OnnxModel, extra
from infoprune.tasks.evaluate import Progress


@dataclass(frozen=True)
class Load:
    """What the models are given to do.

    Args:
        batch_sizes: inputs in a batch.
        lengths: tokens of an input; every batch size is timed with every length.
        repeats: timed rounds for each shape.
        threads: of a model on the CPU; None means as many as PyTorch takes.
        memory: whether the peak memory is measured too, in a fresh process for each model.

    Raises:
        InputError: a number is below 1, or there is none.
    """

    batch_sizes: Sequence[int] = (1, 32)
    lengths: Sequence[int] = (64,)
    repeats: int = 20
    threads: int | None = None
    memory: bool = True

    def __post_init__(self) -> None:
        for option, numbers in (("batch-size", self.batch_sizes), ("length", self.lengths)):
            if not numbers:
                raise InputError(f"--{option} is empty, expected numbers; pass e.g. --{option} 32")
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
class Judges:
    """Texts on which the answers of classifiers are compared.

    Args:
        data: file of texts, with labels or without.
        columns: of that file.
        packing: batch size and length.
    """

    data: StrPath
    columns: Columns = field(default_factory=Columns)
    packing: Packing = field(default_factory=Packing)


@dataclass(frozen=True)
class Benchmark:
    """Models side by side.

    Args:
        device: that PyTorch computed on.
        threads: of a model on the CPU.
        repeats: timed rounds for each shape.
        bytes: of each model's weights, or of its .onnx file, on disk.
        peak_memory: bytes that opening a model and answering the largest batch take at the peak, beyond the
            libraries; None where it was not measured.
        timed: each model on each shape.
        judged: each model on the texts; empty where there were none.
    """

    device: str
    threads: int
    repeats: int
    bytes: dict[str, int]
    peak_memory: dict[str, int | None]
    timed: list[Timed]
    judged: list[Judged]


def bench_models(
    paths: Sequence[StrPath],
    work: Load | None = None,
    *,
    judges: Judges | None = None,
    device: str = "auto",
    progress: StageProgress | None = None,
) -> Benchmark:
    """Compares models in folders and .onnx files; the first is what the others are compared with.

    Args:
        paths: folders, dense or pruned, and .onnx files.
        work: batches, lengths and rounds.
        judges: texts to compare the answers on; needs a folder with a tokenizer among the models.
        device: of PyTorch: "auto", "cpu", "cuda", "mps"; .onnx files are run on the CPU, and so are then all.
        progress: called with (stage, done, of).

    Raises:
        InputError: something about models or options is wrong; the message says what to do.

    Example:
        >>> bench_models(["my-classifier", "half", "half.onnx"]).timed[1].speedup.median
        1.9
    """
    work = work or Load()
    names = [str(path) for path in paths]
    if not names or len(set(names)) < len(names):
        raise InputError(f"the models are {', '.join(names) or 'none'}, expected different ones; name each once")
    graphs = any(name.endswith(SUFFIX) for name in names)
    place = device_named("cpu" if graphs and device == "auto" else device)
    if graphs and place.type != "cpu":
        raise InputError(f"--device is {device}, expected cpu where {SUFFIX} files are among the models; leave it out")
    folder = next((name for name in names if not name.endswith(SUFFIX)), "")
    if judges is not None:
        if not folder:
            raise InputError("--eval needs a tokenizer, expected a folder among the models; add the one exported from")
        chosen_task(folder, "classification")
        texts = judges.columns.read(judges.data)
    with _threads(work.threads) as threads:
        models = {name: open_any(name, place) for name in names}
        judged: list[Judged] = []
        if judges is not None:
            judged = _judged(models, folder, texts, judges.packing, progress)
        timed = time_models(models, work.shapes, repeats=work.repeats, progress=_stage("time", progress))
    peaks: dict[str, int | None] = dict.fromkeys(names)
    if work.memory and place.type == "cpu":
        largest = example_batch(common_config(models), *max(work.shapes, key=lambda shape: shape[0] * shape[1]))
        models.clear()  # the machine may have no room for two
        for done, name in enumerate(names):
            if progress is not None:
                progress("memory", done, len(names))
            measure = partial(_open_and_answer, name, largest, threads)
            peaks[name] = peak_memory(partial(_import_libraries, name), measure)
    sizes = {name: Path(name).stat().st_size if name.endswith(SUFFIX) else count_bytes(name) for name in names}
    return Benchmark(str(place), threads, work.repeats, sizes, peaks, timed, judged)


def open_any(path: StrPath, device: torch.device) -> nn.Module:
    """A model in a folder, dense or pruned, or a graph in a file."""
    if str(path).endswith(SUFFIX):
        return OnnxModel(path)  # with as many threads as PyTorch has
    read_config(path)
    model = load(path)
    model.to(device)  # type: ignore[arg-type]
    return model


def _judged(
    models: Mapping[str, nn.Module], folder: str, texts: TextData, packing: Packing, progress: StageProgress | None
) -> list[Judged]:
    model = cast(PreTrainedModel, models[folder])
    batches = packing.pack(texts, model, open_tokenizer(folder), labels=targets(model, texts))
    return judge_models(models, batches, progress=_stage("evaluate", progress))


def _stage(name: str, progress: StageProgress | None) -> Progress | None:
    return None if progress is None else partial(progress, name)


@contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    """Gives PyTorch a number of threads, and what it had before back at the end."""
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
