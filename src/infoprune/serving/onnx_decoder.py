"""ONNX decoder: a language model with its cache of keys and values as inputs and outputs of one graph."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from infoprune.errors import InputError
from infoprune.serving.onnx_cache import TOTAL_LENGTH, Sizes, cache_axes, example_cache, finish_cache, presents
from infoprune.serving.onnx_graph import BATCH, LENGTH
from infoprune.serving.onnx_model import PAST, extra
from infoprune.serving.onnx_trace import Axes, trace

POSITIONS = "position_ids"
CACHED, NEW = 3, 2
"""Tokens with which a decoder is traced: more than one of each, and unlike each other."""


def write_decoder(model: PreTrainedModel, file: Path) -> None:
    """Trace a language model and write its graph, which takes a cache and returns the longer one.

    Inputs are ``input_ids``, ``attention_mask`` over cached and new tokens, ``position_ids`` if the model has any, and
    ``past_key_values.N.key`` and ``.value`` (batch, heads, cached tokens, head size) of every layer; outputs are
    ``logits`` and ``present.N.key`` and ``.value``. An empty cache may have any number of heads and any head size.

    Args:
        model: Model in float32 on the CPU; heads and head sizes may differ by layer.
        file: File for the graph.
    """
    ids = torch.zeros(2, NEW, dtype=torch.long)
    mask = torch.ones(2, CACHED + NEW, dtype=torch.long)
    given = {"input_ids": ids, "attention_mask": mask, POSITIONS: ids + CACHED}
    plain = {name: given[name] for name in plain_inputs(model)}
    cache = example_cache(_cache_sizes(model), own=CACHED, read=0)
    axes = [*map(_axes, plain), *map(cache_axes, cache)]
    graph = trace(_WithCache(model, list(plain)), plain | cache, axes, ["logits", *presents(cache)], model)
    for value in graph.graph.input:
        if value.name == "attention_mask":
            value.type.tensor_type.shape.dim[1].dim_param = TOTAL_LENGTH
    finish_cache(graph)
    onnx: Any = extra("onnx")
    onnx.save(graph, file)


def plain_inputs(model: PreTrainedModel) -> list[str]:
    """Return the names of the inputs of a language model's graph, without its cache."""
    known = inspect.signature(model.forward).parameters
    return [name for name in ("input_ids", "attention_mask", POSITIONS) if name in known]


def _cache_sizes(model: PreTrainedModel) -> Sizes:
    ids = torch.zeros(1, 2, dtype=torch.long)
    with torch.no_grad():
        cache: Any = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True).past_key_values
    found: dict[str, Tensor] = {}
    for number, layer in enumerate(cache.layers):
        if vars(layer).get("keys") is None:
            raise InputError(
                f"layer {number} of this {model.config.model_type} keeps other states than keys and values, expected "
                "attention in every layer for an .onnx file; run this model in PyTorch"
            )
        found |= {f"{PAST}{number}.key": layer.keys, f"{PAST}{number}.value": layer.values}
    return {name: (tensor.shape[1], tensor.shape[3]) for name, tensor in found.items()}


class _WithCache(nn.Module):
    """Language model from tensors to tensors: those of `plain`, then key and value of every layer."""

    def __init__(self, model: PreTrainedModel, plain: Sequence[str]) -> None:
        super().__init__()
        self.model, self.plain = model, plain

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.plain, tensors, strict=False))
        past = tensors[len(self.plain) :]
        cache = DynamicCache()  # without a config it drops no token, so that the mask alone decides on the window
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        answers = self.model(**given, past_key_values=cache, use_cache=True)
        layers: Any = cache.layers
        return (answers.logits, *(tensor for each in layers for tensor in (each.keys, each.values)))


def _axes(name: str) -> Axes:
    length = torch.export.Dim.DYNAMIC if name == "attention_mask" else torch.export.Dim(LENGTH)
    return {0: torch.export.Dim(BATCH), 1: length}
