"""Layers: the sizes of every decoder layer in a GGUF file, which has zeros where llama.cpp needs a head or neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from infoprune.structure.offload import present
from infoprune.structure.sites import layer_paths

QUERIES, KEYS, VALUES, ATTENTION_OUT = (f"self_attn.{name}_proj" for name in "qkvo")
GATE, UP, DOWN = (f"mlp.{name}_proj" for name in ("gate", "up", "down"))
LINEARS = (QUERIES, KEYS, VALUES, ATTENTION_OUT, GATE, UP, DOWN)
QUERY_NORM, KEY_NORM = "self_attn.q_norm", "self_attn.k_norm"
ATTENTION_NORM, FFN_NORM = "input_layernorm", "post_attention_layernorm"

BLOCK = 32
"""Neurons are filled up with zeros to a multiple of this: q8_0 quantises blocks of 32 weights."""


@dataclass(frozen=True)
class FileLayer:
    """One layer in the file.

    Args:
        path: Path of the layer in the model.
        heads: Number of query heads; 0 where the layer has no attention.
        kv_heads: Number of key-value heads.
        neurons: Number of feed-forward neurons, at least one.
    """

    path: str
    heads: int
    kv_heads: int
    neurons: int


def read_layers(model: PreTrainedModel, head_size: int, *, headless: bool) -> tuple[FileLayer, ...]:
    """Return the layers that a file needs, bottom to top; what is added to them is zero.

    A layer that adds nothing to its input is left out. Where no neurons are left, llama.cpp would drop the attention of
    the layer as well, so the file has neurons of zeros. Where no heads are left, the file has one of zeros if the
    attention adds a bias, and in the lowest layer, where llama.cpp reads the size of a head.

    Args:
        model: Decoder with `self_attn` and `mlp` in every layer.
        head_size: Size of a head.
        headless: Whether a layer may have no head.
    """
    found: list[FileLayer] = []
    paths = layer_paths(model)
    for path in paths:
        heads, kv_heads = (_linear(model, path, name).out_features // head_size for name in (QUERIES, KEYS))
        neurons = _linear(model, path, DOWN).in_features
        speaks = _adds_bias(model, path, ATTENTION_OUT)
        if not (heads or neurons or speaks or _adds_bias(model, path, DOWN)):
            continue
        if heads == 0 and (speaks or not found or not headless):
            heads = kv_heads = 1
        found.append(FileLayer(path, heads, kv_heads, -(-max(neurons, 1) // BLOCK) * BLOCK))
    return tuple(found) or (FileLayer(paths[0], 1, 1, BLOCK),)


def _linear(model: PreTrainedModel, path: str, name: str) -> nn.Linear:
    module: Any = model.get_submodule(f"{path}.{name}")
    return module  # type: ignore[no-any-return]


def _adds_bias(model: PreTrainedModel, path: str, name: str) -> bool:
    """Return whether a module has a bias that is not zero."""
    with present(model, f"{path}.{name}"):
        bias = _linear(model, path, name).bias
        return bias is not None and bool(bias.any())
