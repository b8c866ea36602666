"""ONNX graph: a model that answers once, from texts or pictures to its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.serving.onnx_model import extra
from infoprune.serving.onnx_trace import Axes, trace

Batch = Mapping[str, Tensor]

BATCH, LENGTH = "batch_size", "sequence_length"
"""Names of the dynamic axes, as Optimum gives them; transformers.js finds the first by its name."""


def write_graph(model: PreTrainedModel, batches: Sequence[Batch], file: Path) -> None:
    """Trace a model and write its graph.

    Args:
        model: Model in float32 on the CPU; the graph returns its tensors, under their names in transformers.
        batches: Inputs; the graph takes tensors of their names, the batch size of all and the length of texts dynamic.
        file: File for the graph.
    """
    example = _example(batches)
    with torch.no_grad():
        outputs = [name for name, value in model(**example).items() if isinstance(value, Tensor)]
    module = _Answers(model, tuple(example), outputs)
    onnx: Any = extra("onnx")
    onnx.save(trace(module, example, [_axes(tensor) for tensor in example.values()], outputs, model), file)


class _Answers(nn.Module):
    """Model from tensors to tensors, in a fixed order: a graph supports no dictionaries."""

    def __init__(self, model: PreTrainedModel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        answers = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(answers[name] for name in self.outputs)


def _axes(tensor: Tensor) -> Axes:
    batch = torch.export.Dim(BATCH)
    return {0: batch, 1: torch.export.Dim(LENGTH)} if tensor.ndim == 2 else {0: batch}


def _example(batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return a batch to trace with: at least two inputs, of two tokens if they are texts."""
    shortest = min(batches, key=lambda batch: next(iter(batch.values())).shape[1])
    return {
        name: x.repeat(2, 2)[:, : max(2, x.shape[1])] if x.ndim == 2 else x.repeat(2, *(1,) * (x.ndim - 1))
        for name, x in shortest.items()
    }
