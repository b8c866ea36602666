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
from infoprune.files.drafts import draft_beside
from infoprune.files.folders import check_place
from infoprune.measuring.measure import count_bytes
from infoprune.serving.onnx_graph import quantise, write_graph
from infoprune.serving.onnx_model import SUFFIX, OnnxModel
from infoprune.statistics.answer import pool_by, pooling_of
from infoprune.tasks.compare import compare
from infoprune.tasks.table import task_of

TOLERANCE = 1e-3
"""Largest difference from PyTorch due to rounding in float32, as a share of the largest output."""

GENERATES = ("causal-lm", "seq2seq")
LARGEST = 2**31 - 1
"""Largest size of a protobuf file in bytes, and so of a graph with its weights."""

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Exported:
    """Exported graph, and its agreement with the PyTorch model.

    Args:
        file: The .onnx file.
        int8: Whether its weights are 8-bit integers.
        bytes: Size of the file.
        inputs: Number of compared inputs.
        shapes: (inputs, tokens) of their batches.
        difference: Largest absolute difference of an output.
        scale: Largest absolute output.
        agreement: Share of equal answers, or mean cosine of embeddings, as in `Comparison`.
        kl: Mean KL(PyTorch || graph) in nats per answer; None for numbers and embeddings.
    """

    file: str
    int8: bool
    bytes: int
    inputs: int
    shapes: tuple[tuple[int, int], ...]
    difference: float
    scale: float
    agreement: float | None = None
    kl: float | None = None


def export(
    model: PreTrainedModel,
    file: str | PathLike[str],
    batches: Sequence[Batch],
    *,
    int8: bool = False,
    force: bool = False,
) -> Exported:
    """Write a model as one .onnx file in float32, or with 8-bit weights, for batches of any shape.

    Args:
        model: Dense or pruned model of a task on texts that does not generate text; not changed.
        file: New file, or an existing one with `force`; it is written completely or not at all.
        batches: Real inputs on which graph and model are compared; the graph takes inputs of the same names. The first
            input of every batch is also compared alone.
        int8: Whether to quantise the weights, and the activations at run time (onnxruntime's dynamic quantisation).
        force: Whether to replace an existing file.

    Returns:
        The file, its size, and the differences of its outputs from the model's.

    Raises:
        InputError: The task generates text, the inputs are not texts, the file exists, there are no batches, or the
            weights exceed 2 GB.
        RuntimeError: The outputs of graph and model differ; nothing is written.

    Examples:
        >>> infoprune.export(model, "model.onnx", batches).difference < 1e-4
        True
    """
    out = check_file(file, force=force)
    task = task_of(model)
    if task in GENERATES:
        raise InputError(
            f"{type(model).__name__} is for {task}, expected a model without a cache of keys and values, such as a "
            "classifier or an encoder; run this one in PyTorch"
        )
    if not batches:
        raise InputError("`batches` is empty, expected real inputs to compare on; see infoprune.make_batches")
    twin = copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval()  # type: ignore[call-arg]
    if count_bytes(twin) > LARGEST:
        raise InputError(
            f"the weights take {count_bytes(twin):,} bytes in float32, expected at most {LARGEST:,}; keep fewer units"
        )
    inputs = [{name: tensor.cpu() for name, tensor in batch.items() if name != "labels"} for batch in batches]
    if any(tensor.ndim != 2 for batch in inputs for tensor in batch.values()):
        raise InputError("not all tensors are (inputs, tokens), expected texts; run models of pictures in PyTorch")
    out.parent.mkdir(parents=True, exist_ok=True)
    with draft_beside(out) as folder:
        draft = folder / out.name
        write_graph(twin, inputs, draft)
        exported = _compared(twin, draft, out, inputs)
        if int8:
            draft = quantise(draft)
            exported = _compared(twin, draft, out, inputs, int8=True)
        draft.replace(out)
    return exported


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


def _check(exported: Exported, most: float) -> None:
    if not (math.isfinite(exported.difference) and exported.difference <= most):
        raise RuntimeError(
            f"the graph differs from PyTorch by {exported.difference:.2g}, expected at most {most:.2g} where the "
            f"largest output is {exported.scale:.3g}; run this model in PyTorch"
        )


def _compared(
    model: PreTrainedModel, draft: Path, out: Path, batches: Sequence[Batch], *, int8: bool = False
) -> Exported:
    graph = OnnxModel(draft)
    exported = _measured(model, graph, draft, out, batches, int8=int8)
    _check(exported, math.inf if int8 else TOLERANCE * exported.scale)
    pool_by(graph, pooling_of(model))
    near = compare(model, graph, batches)
    return replace(exported, agreement=near.agreement, kl=near.kl)


def _measured(
    model: PreTrainedModel, graph: OnnxModel, draft: Path, out: Path, batches: Sequence[Batch], *, int8: bool
) -> Exported:
    differences, scales, shapes = [], [], {}
    with torch.inference_mode():
        for batch in (*batches, *map(_first_alone, batches)):
            expected, got = model(**batch), graph(**batch)
            for name, tensor in got.items():
                differences.append((tensor - expected[name]).abs().max())
                scales.append(expected[name].abs().max())
            rows, length = next(iter(batch.values())).shape
            shapes[rows, length] = True
    return Exported(
        file=str(out),
        int8=int8,
        bytes=draft.stat().st_size,
        inputs=sum(len(next(iter(batch.values()))) for batch in batches),
        shapes=tuple(shapes),
        difference=float(torch.stack(differences).max()),  # NaN if there is one
        scale=float(torch.stack(scales).max()),
    )


def _first_alone(batch: Batch) -> dict[str, Tensor]:
    """Return the first input without its padding: the smallest input of a graph."""
    mask = batch.get("attention_mask")
    real = slice(None) if mask is None else mask[0].bool()
    return {name: tensor[:1][:, real] for name, tensor in batch.items()}
