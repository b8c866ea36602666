"""Export: the job of `infoprune export` for ONNX."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from infoprune.data.batches import sampled
from infoprune.errors import InputError
from infoprune.files.folders import new_folder
from infoprune.jobs.builtin import builtin
from infoprune.jobs.inputs import Batches, Columns, Packing, StrPath, Texts, check_positive
from infoprune.jobs.models import chosen_task, open_model
from infoprune.jobs.tasks import inputs_of, read
from infoprune.pipeline.clock import StageProgress
from infoprune.serving.export import FOLDER, Exported, check_file, check_task, export, write_graphs
from infoprune.sources.models import model_folder
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.tasks.table import Task

COMPARED = 8
"""Batches on which the graphs of a model that was just pruned are compared."""


@dataclass(frozen=True)
class Compared:
    """Texts or pictures on which a graph is compared with PyTorch.

    Args:
        data: The texts or pictures; by default a few built-in ones.
        columns: Their columns.
        packing: Batch size and length; by default 4 inputs per batch.
        samples: Number of inputs to sample.
        seed: Seed of that sample.

    Raises:
        InputError: `samples` is below 1.
    """

    data: Texts | None = None
    columns: Columns = field(default_factory=Columns)
    packing: Packing = field(default_factory=lambda: Packing(batch_size=4))
    samples: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive("samples", self.samples)

    def open(self, folder: Path, task: Task) -> tuple[PreTrainedModel, Batches]:
        """Load the model in a folder, and make batches of the texts or pictures for it."""
        if self.data is None:
            data = builtin(task.reads)
        else:
            data = read(task, self.columns, self.data, scored=False, split="validation")
        data = data.among(sampled(len(data), self.samples, self.seed))
        model, preprocessor = open_model(folder, torch.device("cpu"), task)
        return model, list(inputs_of(data, task, model, preprocessor, self.packing))


def export_folder(
    folder: StrPath,
    file: StrPath,
    *,
    texts: Compared | None = None,
    int8: bool = False,
    force: bool = False,
    progress: StageProgress | None = None,
) -> Exported:
    """Write the dense or pruned model in a folder as one .onnx file, compared with PyTorch on real inputs.

    Args:
        folder: Folder with the model and its tokenizer, or name of a model on the hub.
        file: The .onnx file; it is written completely or not at all.
        texts: Texts or pictures to compare on; by default a few built-in ones.
        int8: Whether to quantise weights and activations to 8 bits.
        force: Whether to replace `file` if it exists.
        progress: Called with (stage, done, of).

    Raises:
        InputError: The folder, the data or an option is not valid; the message gives the remedy.

    Examples:
        >>> export_folder("half", "half.onnx", texts=Compared("valid.csv"), int8=True).agreement
        0.996
    """
    check_file(file, force=force)
    place = model_folder(folder, progress=progress)
    task = chosen_task(place)
    check_task(task.name, one_file=True)
    model, batches = (texts or Compared()).open(place, task)
    return replace(export(model, file, batches, int8=int8, force=force), file=str(file))


def export_inside(
    folder: StrPath, *, texts: Compared | None = None, int8: bool = False, force: bool = False
) -> tuple[Exported, ...]:
    """Write the model in a folder as onnx/model.onnx inside it, compared with PyTorch on real inputs.

    Optimum, sentence-transformers, Text Embeddings Inference and transformers.js look for graphs there. An
    encoder-decoder becomes onnx/encoder_model.onnx and onnx/decoder_model_merged.onnx.

    Args:
        folder: Folder with the model and its tokenizer; its other files do not change.
        texts: Texts or pictures to compare on; by default a few built-in ones.
        int8: Whether to write onnx/model_quantized.onnx, with 8-bit weights and activations, as well.
        force: Whether to replace the folder onnx if it exists.

    Returns:
        What `export_folder` returns, for float32 and for 8 bits.

    Raises:
        InputError: The folder, the data or an option is not valid, or there are graphs already.

    Examples:
        >>> [graph.file for graph in export_inside("half", int8=True)]
        ['half/onnx/model.onnx', 'half/onnx/model_quantized.onnx']
    """
    if not Path(folder).is_dir():
        raise InputError(
            f"there is no folder {folder}, expected one with a model saved by save_pretrained, since the graph is "
            "written inside it; pass the name of a file for a model on the hub, e.g. model.onnx"
        )
    sentence = read_sentence_folder(folder)
    out = (Path(folder) if sentence is None else sentence.transformer) / FOLDER
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not force):
        raise InputError(f"{out} exists, expected a folder without graphs; pass `force=True`, or the name of a file")
    task = chosen_task(folder)
    check_task(task.name)
    model, batches = (texts or Compared()).open(Path(folder), task)
    with new_folder(out, force=force) as draft:
        written = write_graphs(model, draft, batches, int8=int8)
    return tuple(replace(each, file=str(out / each.file)) for each in written)


@dataclass(frozen=True)
class Graphs:
    """Graphs that are written beside a pruned model.

    Args:
        onnx: Whether to write onnx/model.onnx, as `export_inside` does.
        int8: Whether to write onnx/model_quantized.onnx, with 8-bit weights, as well.

    Raises:
        InputError: `int8` was given without `onnx`.
    """

    onnx: bool = False
    int8: bool = False

    def __post_init__(self) -> None:
        if self.int8 and not self.onnx:
            raise InputError("`int8` was given without `onnx`, expected both: it is for graphs; pass `onnx=True` too")

    def check(self, task: Task, *, plan_only: bool) -> None:
        """Raise InputError, before the work, where the graphs that are asked for could not be written."""
        if self.onnx and plan_only:
            raise InputError("`onnx` and `plan_only` were given, expected one: no model is written; leave one out")
        if self.onnx:
            check_task(task.name)

    def write(self, model: PreTrainedModel, folder: Path, batches: Batches) -> None:
        """Write what is asked for beside the other files in a folder, compared with PyTorch on some of the batches."""
        if self.onnx:
            (folder / FOLDER).mkdir()
            write_graphs(model, folder / FOLDER, batches[:: math.ceil(len(batches) / COMPARED)], int8=self.int8)
