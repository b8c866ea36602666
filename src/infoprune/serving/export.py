"""Export: write a model as ONNX, with dynamic batch size and length, checked against PyTorch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.files.drafts import draft_beside
from infoprune.files.folders import check_place
from infoprune.measuring.measure import count_bytes
from infoprune.serving.onnx_check import difference
from infoprune.serving.onnx_files import inputs_of_graphs, open_graphs, write_float32
from infoprune.serving.onnx_int8 import quantise
from infoprune.serving.onnx_model import SUFFIX, extra
from infoprune.serving.without_inputs import without_empty_products
from infoprune.statistics.answer import pool_by, pooling_of
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.outputs import set_plain
from infoprune.structure.plain import on_plain_model
from infoprune.tasks.compare import compare
from infoprune.tasks.table import reads_of, task_of

TOLERANCE = 1e-3
"""Largest difference from PyTorch due to rounding in float32, as a share of the largest output."""

LARGEST = 2**31 - 1
"""Largest size of a protobuf file in bytes, and so of a graph with its weights."""

FOLDER = "onnx"
"""Where Optimum, sentence-transformers, Text Embeddings Inference and transformers.js look for graphs in a folder."""

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Exported:
    """Exported graph, and its agreement with the PyTorch model.

    Args:
        file: The .onnx file; of an encoder-decoder the decoder's, with the encoder's beside it.
        int8: Whether its weights are 8-bit integers.
        bytes: Size of the file, or of both.
        inputs: Number of compared inputs.
        shapes: Shapes of their batches: (inputs, tokens), or (inputs, channels, height, width) of pictures.
        difference: Largest absolute difference of an output.
        scale: Largest absolute output.
        agreement: Share of equal answers, or mean cosine of embeddings, as in `Comparison`.
        kl: Mean KL(PyTorch || graph) in nats per answer; None for numbers and embeddings.
    """

    file: str
    int8: bool
    bytes: int
    inputs: int
    shapes: tuple[tuple[int, ...], ...]
    difference: float
    scale: float
    agreement: float | None = None
    kl: float | None = None


@in_ordinary_mode
@on_plain_model
def export(
    model: PreTrainedModel,
    file: str | PathLike[str],
    batches: Sequence[Batch],
    *,
    int8: bool = False,
    force: bool = False,
) -> Exported:
    """Write a model as one .onnx file in float32, or with 8-bit weights, for batches of any shape.

    The graph of a language model takes the cache of keys and values as an input and returns the longer one, so that
    ONNX Runtime can generate text from it. The size of pictures is that of the batches.

    Args:
        model: Dense or pruned model of texts or pictures, but no encoder-decoder; not changed.
        file: New file, or an existing one with `force`; it is written completely or not at all.
        batches: Real inputs on which graph and model are compared; the graph takes inputs of the same names. The first
            input of every batch is also compared alone, and a language model's second half from the cache of the first.
        int8: Whether to quantise the weights, and the activations at run time (onnxruntime's dynamic quantisation).
        force: Whether to replace an existing file.

    Returns:
        The file, its size, and the differences of its outputs from the model's.

    Raises:
        InputError: The model is an encoder-decoder or has experts, the file exists, there are no batches, their tensors
            are neither texts nor pictures, or the weights exceed 2 GB.
        RuntimeError: The outputs of graph and model differ; nothing is written.

    Examples:
        >>> infoprune.export(model, "model.onnx", batches).difference < 1e-4
        True
    """
    out = check_file(file, force=force)
    check_task(task_of(model), one_file=True)
    check_comparable(model, batches)
    out.parent.mkdir(parents=True, exist_ok=True)
    with draft_beside(out) as folder:
        exported = write_graphs(model, folder, batches, int8=int8)[-1]
        (folder / exported.file).replace(out)
    return replace(exported, file=str(out))


def write_graphs(
    model: PreTrainedModel, folder: Path, batches: Sequence[Batch], *, int8: bool = False
) -> tuple[Exported, ...]:
    """Write a model as model.onnx, and with `int8` as model_quantized.onnx too, into a folder, compared with PyTorch.

    Args:
        model: As for `export`; an encoder-decoder becomes two graphs.
        folder: Existing folder.
        batches: As for `export`.
        int8: Whether to write 8-bit graphs as well.

    Returns:
        What `export` returns, for float32 and for 8 bits; the files are named without the folder.

    Raises:
        InputError: As for `export`.
        RuntimeError: As for `export`.
    """
    check_task(task_of(model))
    check_comparable(model, batches)
    twin = copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval()  # type: ignore[call-arg]
    set_plain(twin)
    without_empty_products(twin)
    inputs = inputs_of_graphs(twin, batches)
    graphs = write_float32(twin, inputs, folder)
    written = [_compared(twin, graphs, inputs)]
    if int8:
        written.append(_compared(twin, [quantise(file) for file in graphs], inputs, int8=True))
    return tuple(written)


def check_file(file: str | PathLike[str], *, force: bool) -> Path:
    """Return the absolute path of the graph; raise InputError where it must not be written."""
    out = Path(file).absolute()
    if out.suffix != SUFFIX:
        raise InputError(
            f"{file} does not end in {SUFFIX}, expected the name of an ONNX file; pass e.g. {file}{SUFFIX}"
        )
    if out.is_dir() or (out.exists() and not force):
        raise InputError(f"{file} exists, expected a new file; choose another name or pass `force=True`")
    check_place(out)
    return out


def check_task(name: str, *, one_file: bool = False) -> None:
    """Raise InputError where models of a task cannot be exported, or the extra [onnx] is not installed.

    Args:
        name: Name of the task.
        one_file: Whether the graph has to be a single file.
    """
    if reads_of(name) == "clips":
        raise InputError(f"the model is for {name}, expected one that reads texts or pictures; run it in PyTorch")
    if name == "seq2seq" and one_file:
        raise InputError(
            "the model is an encoder-decoder, which is two graphs, expected no name of a file; run infoprune export "
            "MODEL, which writes both into the folder of the model"
        )
    for module in ("onnx", "onnxscript", "onnxruntime"):
        extra(module)


def check_without_experts(model: PreTrainedModel) -> None:
    """Raise InputError where a router chooses among experts: ONNX has no product for that."""
    family = FAMILIES.get(model.config.model_type)
    if family is not None and any(row.experts for row in family.sites):
        raise InputError(
            f"the model is a {type(model).__name__}, whose tokens choose experts, expected one without experts: ONNX "
            "cannot express it; run it in PyTorch"
        )


def check_comparable(model: PreTrainedModel, batches: Sequence[Batch]) -> None:
    """Raise InputError where there is nothing to compare on, or the model cannot be a graph."""
    check_without_experts(model)
    if not batches:
        raise InputError("`batches` is empty, expected real inputs to compare on; see infoprune.make_batches")
    odd = [name for batch in batches for name, x in batch.items() if name != "labels" and x.ndim not in (2, 4)]
    if odd:
        raise InputError(
            f"{odd[0]} is no tensor of texts (inputs, tokens) or pictures (inputs, channels, height, width), expected "
            "only these; run this model in PyTorch"
        )
    size = 4 * count_bytes(model) // model.dtype.itemsize
    if size > LARGEST:
        raise InputError(f"the weights take {size:,} bytes in float32, expected at most {LARGEST:,}; keep fewer units")


def _compared(
    model: PreTrainedModel, files: Sequence[Path], batches: Sequence[Batch], *, int8: bool = False
) -> Exported:
    graph = open_graphs(files)
    found = difference(model, graph, batches)
    most = math.inf if int8 else TOLERANCE * found.scale
    if not (math.isfinite(found.largest) and found.largest <= most):
        raise RuntimeError(
            f"the graph differs from PyTorch by {found.largest:.2g}, expected at most {most:.2g} where the "
            f"largest output is {found.scale:.3g}; run this model in PyTorch"
        )
    pool_by(graph, pooling_of(model))
    near = compare(model, graph, batches)
    return Exported(
        file=files[-1].name,
        int8=int8,
        bytes=sum(file.stat().st_size for file in files),
        inputs=sum(len(next(iter(batch.values()))) for batch in batches),
        shapes=found.shapes,
        difference=found.largest,
        scale=found.scale,
        agreement=near.agreement,
        kl=near.kl,
    )
