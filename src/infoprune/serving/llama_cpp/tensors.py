"""Tensors: the weights of a model, one at a time, with the names, the order and the zeros of a GGUF file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from infoprune.serving.llama_cpp.architecture import Layout
from infoprune.serving.llama_cpp.layers import (
    ATTENTION_NORM,
    ATTENTION_OUT,
    DOWN,
    FFN_NORM,
    GATE,
    KEY_NORM,
    KEYS,
    QUERIES,
    QUERY_NORM,
    UP,
    VALUES,
    FileLayer,
)
from infoprune.structure.offload import present

FUSED = "self_attn.qkv_proj"
EMBEDDINGS, NORM, OUTPUT = "embed_tokens", "norm", "lm_head"
PARAMETERS = ("weight", "bias")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FileTensor:
    """One tensor of the file.

    Args:
        name: Its name in the file.
        shape: Its shape, rows first.
        read: Function that returns it in float32, on the CPU.
    """

    name: str
    shape: Shape
    read: Callable[[], Tensor]


def entries_of(model: PreTrainedModel, layout: Layout, name_of: Callable[[str], str]) -> Iterator[FileTensor]:
    """Yield every tensor of a file, without reading any.

    Args:
        model: The model.
        layout: Its layers in the file.
        name_of: Function from the name of a weight in transformers, with the layer's number in the file, to its name
            in the file.
    """
    prefix = model.base_model_prefix
    for path in (f"{prefix}.{EMBEDDINGS}", f"{prefix}.{NORM}", *((OUTPUT,) if layout.own_output else ())):
        shape = tuple(_module(model, path).get_parameter("weight").shape)
        yield FileTensor(name_of(f"{path}.weight"), shape, partial(_read, model, path, "weight", shape))
    divisors = layout.rope.divisors
    if divisors is not None:
        yield FileTensor("rope_freqs.weight", tuple(divisors.shape), lambda: divisors)
    for index, layer in enumerate(layout.layers):
        yield from _of_layer(model, layout, layer, partial(_numbered, name_of, f"{prefix}.layers.{index}"))


def _numbered(name_of: Callable[[str], str], layer: str, path: str) -> str:
    return name_of(f"{layer}.{path}")


def _of_layer(
    model: PreTrainedModel, layout: Layout, layer: FileLayer, name_of: Callable[[str], str]
) -> Iterator[FileTensor]:
    reader = layout.architecture
    fused: list[FileTensor] = []
    for path in _paths(layout, layer):
        for name in PARAMETERS:
            shape = _shape(model, layout, layer, path, name)
            if shape is None:
                continue
            read = partial(_read, model, f"{layer.path}.{path}", name, shape)
            if reader.pairs and path in (QUERIES, KEYS):
                read = partial(_in_pairs, read, layer.heads if path == QUERIES else layer.kv_heads)
            if reader.fused and path in (QUERIES, KEYS, VALUES):
                fused.append(FileTensor(path, shape, read))
            else:
                yield FileTensor(name_of(f"{path}.{name}"), shape, read)
    if fused:
        shape = (sum(each.shape[0] for each in fused), fused[0].shape[1])
        yield FileTensor(name_of(f"{FUSED}.weight"), shape, lambda: torch.cat([each.read() for each in fused]))


def _paths(layout: Layout, layer: FileLayer) -> Iterator[str]:
    if layer.heads:
        yield from (ATTENTION_NORM, QUERIES, KEYS, VALUES)
        yield from (QUERY_NORM, KEY_NORM) if layout.architecture.normalised else ()
        yield ATTENTION_OUT
    yield from (FFN_NORM, GATE, UP, DOWN)


def _shape(model: PreTrainedModel, layout: Layout, layer: FileLayer, path: str, name: str) -> Shape | None:
    """Return the shape of a weight or bias in the file; None where the model has none."""
    size = layout.rope.size
    if path in (QUERY_NORM, KEY_NORM):  # attention without heads has lost them
        return (size,) if name == "weight" else None
    parameter = _module(model, f"{layer.path}.{path}")._parameters.get(name)
    if parameter is None:
        return None
    queries, keys = layer.heads * size, layer.kv_heads * size
    rows = {QUERIES: queries, KEYS: keys, VALUES: keys, GATE: layer.neurons, UP: layer.neurons}
    columns = {ATTENTION_OUT: queries, DOWN: layer.neurons}
    first = rows.get(path, parameter.shape[0])
    return (first,) if parameter.ndim == 1 else (first, columns.get(path, parameter.shape[1]))


def _read(model: PreTrainedModel, path: str, name: str, shape: Shape) -> Tensor:
    """Return a weight in float32 on the CPU, filled up with zeros; a norm went with the heads of its layer."""
    parent, _, last = path.rpartition(".")
    if last not in _module(model, parent)._modules:
        return torch.zeros(shape)
    with present(model, path):
        found = _module(model, path).get_parameter(name).detach().to("cpu", torch.float32)
    missing = [full - there for full, there in zip(shape, found.shape, strict=True)]
    return pad(found, [each for size in reversed(missing) for each in (0, size)]) if any(missing) else found


def _in_pairs(read: Callable[[], Tensor], heads: int) -> Tensor:
    """Return rows of queries or keys in llama.cpp's order: those that rotate together are neighbours."""
    found = read()
    return found.reshape(heads, 2, -1, *found.shape[1:]).transpose(1, 2).reshape(found.shape)


def _module(model: PreTrainedModel, path: str) -> nn.Module:
    return model.get_submodule(path)
