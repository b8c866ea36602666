"""Architectures: which of llama.cpp's fits a model, by what their readers expect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.serving.llama_cpp.layers import KEYS, LINEARS, QUERIES, VALUES, FileLayer, read_layers
from infoprune.serving.llama_cpp.rope import Rope


@dataclass(frozen=True)
class Architecture:
    """What one architecture of llama.cpp reads.

    Args:
        name: Its name in the file.
        by_layer: Whether the sizes may differ from layer to layer.
        pairs: Whether rotation takes the two dimensions of a pair from neighbouring rows of queries and keys, and not
            from the two halves of a head.
        biases: Linear modules whose bias is read.
        headless: Whether a layer may have no heads.
        scaled_rope: Whether divisors of the rotary frequencies are read.
        own_output: Whether the output layer may be another table than the embeddings.
        fused: Whether queries, keys and values are one tensor.
        normalised: Whether queries and keys pass through a norm.
        square: Whether all queries of a layer together must have the hidden size.
    """

    name: str
    by_layer: bool = False
    pairs: bool = False
    biases: tuple[str, ...] = ()
    headless: bool = False
    scaled_rope: bool = False
    own_output: bool = True
    fused: bool = False
    normalised: bool = False
    square: bool = False


LLAMA = Architecture("llama", pairs=True, biases=LINEARS, scaled_rope=True)
DECI = Architecture("deci", by_layer=True, pairs=True, biases=LINEARS, headless=True, scaled_rope=True)
QWEN2 = Architecture("qwen2", biases=(QUERIES, KEYS, VALUES), square=True)
QWEN3 = Architecture("qwen3", normalised=True)
OPENELM = Architecture("openelm", by_layer=True, own_output=False, fused=True, normalised=True)

ARCHITECTURES = {
    "llama": (LLAMA, DECI),
    "mistral": (LLAMA, DECI),
    "qwen2": (QWEN2, DECI),
    "qwen3": (QWEN3, OPENELM),  # like Qwen3, OpenELM normalises queries and keys; deci does not
}
"""Architectures by model type: the family's own, then the one with sizes by layer."""


@dataclass(frozen=True)
class Layout:
    """A model as one architecture of llama.cpp.

    Args:
        architecture: The architecture.
        layers: The layers in the file, bottom to top.
        rope: Rotary position embedding.
        own_output: Whether the file has an output layer besides the embedding table.
    """

    architecture: Architecture
    layers: tuple[FileLayer, ...]
    rope: Rope
    own_output: bool


def choose_layout(model: PreTrainedModel, rope: Rope) -> Layout:
    """Return the model in the first architecture that can express it.

    Raises:
        InputError: None can; the message says why.
    """
    reasons = []
    for architecture in ARCHITECTURES[model.config.model_type]:
        layers = read_layers(model, rope.size, headless=architecture.headless)
        layout = Layout(architecture, layers, rope, not _is_tied(model))
        wrong = list(_contradictions(model, layout))
        if not wrong:
            return layout
        reasons.append((architecture.name, wrong))
    (_, first), *_ = reasons
    remedy = "prune with `shape=uniform`" if first == [SIZES] else "run this model in PyTorch"
    said = "; ".join(f"{name} has no {' and no '.join(wrong)}" for name, wrong in reasons)
    raise InputError(f"no architecture of llama.cpp can express this {model.config.model_type} ({said}); {remedy}")


SIZES = "sizes by layer"


def _contradictions(model: PreTrainedModel, layout: Layout) -> Iterator[str]:
    """Yield what the model has and the architecture lacks."""
    reader = layout.architecture
    sizes = {(layer.heads, layer.kv_heads, layer.neurons) for layer in layout.layers}
    if len(sizes) > 1 and not reader.by_layer:
        yield SIZES
    embeddings: Any = model.get_input_embeddings()
    if reader.square and any(layer.heads * layout.rope.size != embeddings.embedding_dim for layer in layout.layers):
        yield "other hidden size than that of all heads"
    for name in LINEARS:
        modules = (model.get_submodule(f"{layer.path}.{name}") for layer in layout.layers)
        if name not in reader.biases and any(_has_bias(module) for module in modules):
            yield f"bias of {name}"
    if not layout.rope.plain and not reader.scaled_rope:
        yield "scaled rotary frequencies"
    if layout.own_output and not reader.own_output:
        yield "output layer besides the embedding table"


def _has_bias(module: Any) -> bool:  # noqa: ANN401
    return module.bias is not None and module.bias.numel() > 0


def _is_tied(model: PreTrainedModel) -> bool:
    output: Any = model.get_output_embeddings()
    return output.weight is model.get_input_embeddings().weight
