"""ONNX cache: the cached keys and values of a decoder as inputs and outputs of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from infoprune.serving.onnx_graph import BATCH
from infoprune.serving.onnx_model import PAST, PRESENT, extra
from infoprune.serving.onnx_trace import Axes

PAST_LENGTH, TOTAL_LENGTH = "past_sequence_length", "total_sequence_length"
READ_LENGTH = "past_encoder_sequence_length"
CROSS = ".encoder."
"""What is in the names of the keys and values that a decoder caches of the encoder's tokens, as Optimum has them."""

Sizes = Mapping[str, tuple[int, int]]
"""Heads and head size of cached tensors by name, in the order of the graph's inputs."""


def example_cache(sizes: Sizes, *, own: int, read: int) -> dict[str, Tensor]:
    """Return a cache for two inputs, with a number of the decoder's own tokens, and of the encoder's tokens."""
    return {name: torch.zeros(2, heads, read if CROSS in name else own, size) for name, (heads, size) in sizes.items()}


def cache_axes(name: str) -> Axes:
    """Return the dynamic axes of a cached tensor (batch, heads, tokens, head size)."""
    length = torch.export.Dim(READ_LENGTH if CROSS in name else PAST_LENGTH)
    return {0: torch.export.Dim(BATCH), 2: length}


def presents(names: Mapping[str, object]) -> list[str]:
    """Return the names of the outputs for cached inputs."""
    return [name.replace(PAST, PRESENT) for name in names]


def finish_cache(graph: Any) -> None:  # noqa: ANN401
    """Name the axes of old and new tokens together, and let an empty cache have any shape.

    Programs take the shape of an empty cache from config.json, where all layers are alike. A cache of some tokens keeps
    its numbers, so that one of another shape stays an error.

    Args:
        graph: Graph as a message of onnx; it is changed.
    """
    for value in graph.graph.output:
        if value.name.startswith(PRESENT):
            axes = value.type.tensor_type.shape.dim
            axes[2].dim_param = TOTAL_LENGTH if CROSS not in value.name else "encoder_sequence_length"
    onnx: Any = extra("onnx")
    make = onnx.helper.make_node
    nodes = {"cache.batch": make("Shape", ["input_ids"], ["cache.batch"], start=0, end=1)}
    numbers: set[int] = set()
    for value in graph.graph.input:
        if not value.name.startswith(PAST):
            continue
        axes = value.type.tensor_type.shape.dim
        heads, size = axes[1].dim_value, axes[3].dim_value
        axes[1].dim_param, axes[3].dim_param = f"{value.name}.heads", f"{value.name}.size"
        length = "cache.read" if CROSS in value.name else "cache.own"
        shape, sized = f"{length}.{heads}x{size}", f"{value.name}.sized"
        parts = ["cache.batch", f"cache.{heads}", length, f"cache.{size}"]
        nodes.setdefault(length, make("Shape", [value.name], [length], start=2, end=3))
        nodes.setdefault(shape, make("Concat", parts, [shape], axis=0))
        _rename_input(graph, value.name, sized)
        nodes[sized] = make("Reshape", [value.name, shape], [sized], allowzero=1)
        numbers |= {heads, size}
    for number in numbers:
        constant = onnx.helper.make_tensor(f"cache.{number}", onnx.TensorProto.INT64, [1], [number])
        graph.graph.initializer.append(constant)
    rest = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes.values(), *rest])


def _rename_input(graph: Any, old: str, new: str) -> None:  # noqa: ANN401
    for node in graph.graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new
