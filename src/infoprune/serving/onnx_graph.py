"""ONNX graph: trace a model with PyTorch, and quantise the graph with onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.serving.onnx_model import CONFIG_KEY, extra

Batch = Mapping[str, Tensor]


def write_graph(model: PreTrainedModel, batches: Sequence[Batch], file: Path) -> None:
    """Trace a model in float32 on the CPU and write its graph, with the model's config as metadata.

    Args:
        model: Model; the graph returns its tensors, under their names in transformers.
        batches: Inputs; the graph takes tensors of their names, each (batch, length) with both axes dynamic.
        file: File for the graph.
    """
    onnx: Any = extra("onnx")
    extra("onnxscript")
    example = _example(batches)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with torch.no_grad(), _quiet():
        names = [name for name, value in model(**example).items() if isinstance(value, Tensor)]
        program: Any = torch.onnx.export(
            _Answers(model, tuple(example), names),
            tuple(example.values()),
            dynamo=True,
            input_names=list(example),
            output_names=names,
            dynamic_shapes={"tensors": (axes,) * len(example)},
            verbose=False,
        )
    graph = program.model_proto
    for thing in (graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        thing.ClearField("metadata_props")  # stack traces, with local paths
    graph.metadata_props.add(key=CONFIG_KEY, value=model.config.to_json_string(use_diff=False))
    onnx.save(graph, file)


class _Answers(torch.nn.Module):
    """Model from tensors to tensors, in a fixed order: a graph supports no dictionaries."""

    def __init__(self, model: PreTrainedModel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        answers = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(answers[name] for name in self.outputs)


def _example(batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return a batch to trace with, at least two inputs of two tokens: an axis of length 1 would become a constant."""
    shortest = min(batches, key=lambda batch: next(iter(batch.values())).shape[1])
    return {name: x.repeat(2, 2)[:, : max(2, x.shape[1])] for name, x in shortest.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence messages of the exporter that are meant for its own developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def quantise(file: Path) -> Path:
    """Write a graph with 8-bit weights, one scale per unit, beside a graph; activations are quantised at run time."""
    quantization: Any = extra("onnxruntime.quantization")
    small = file.with_name(f"int8-{file.name}")
    with _quiet():
        quantization.quantize_dynamic(
            file, small, per_channel=True, weight_type=quantization.QuantType.QInt8, nodes_to_exclude=_empty(file)
        )
    return small


def _empty(file: Path) -> list[str]:
    """Return the products with a weight of no elements, from a removed block: they have no scale."""
    onnx: Any = extra("onnx")
    graph = onnx.load(file).graph
    weights = {tensor.name for tensor in graph.initializer if 0 in tensor.dims}
    return [node.name for node in graph.node if weights & set(node.input)]
