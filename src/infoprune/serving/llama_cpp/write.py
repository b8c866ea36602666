"""Write: sizes, tokenizer and weights into a GGUF file, one tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.serving.llama_cpp.architecture import Layout
from infoprune.serving.llama_cpp.layers import BLOCK
from infoprune.serving.llama_cpp.tensors import FileTensor, entries_of
from infoprune.serving.llama_cpp.vocabulary import Vocabulary, write_vocabulary

FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
"""The package's names of the types of files, by the number format of the matrices."""

LARGEST = {"F32": math.inf, "F16": 65504.0, "Q8_0": 65504.0 * 127}
"""Largest magnitude of a number in each format."""


def write_gguf(
    gguf: Any,  # noqa: ANN401
    file: Path,
    model: PreTrainedModel,
    layout: Layout,
    vocabulary: Vocabulary,
    type: str,
) -> None:
    """Write a model into a new file.

    Args:
        gguf: The package gguf.
        file: The file.
        model: The model.
        layout: Its architecture and sizes.
        vocabulary: Its vocabulary.
        type: Number format of the matrices.

    Raises:
        InputError: A weight is too large for the format, or no number.
    """
    writer = gguf.GGUFWriter(file, layout.architecture.name)
    try:
        writer.add_name(file.stem)
        writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[type]])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_sizes(writer, model, layout)
        writer.add_vocab_size(len(vocabulary.tokens))
        write_vocabulary(writer, vocabulary)
        _write_tensors(writer, gguf, tuple(entries_of(model, layout, _names(gguf, layout))), type)
    finally:
        writer.close()


def context_of(model: PreTrainedModel) -> int:
    """Return the number of tokens up to which llama.cpp computes what the model does.

    It has no sliding windows for these families, and up to the size of a window there is no difference.
    """
    config = model.config.to_dict()
    positions = int(config["max_position_embeddings"])
    return min(positions, config.get("sliding_window") or positions)


def _add_sizes(writer: Any, model: PreTrainedModel, layout: Layout) -> None:  # noqa: ANN401
    layers, rope = layout.layers, layout.rope
    by_layer = layout.architecture.by_layer
    embeddings: Any = model.get_input_embeddings()
    writer.add_context_length(context_of(model))
    writer.add_embedding_length(embeddings.embedding_dim)
    writer.add_block_count(len(layers))
    writer.add_feed_forward_length(_sizes([layer.neurons for layer in layers], by_layer=by_layer))
    writer.add_head_count(_sizes([layer.heads for layer in layers], by_layer=by_layer))
    writer.add_head_count_kv(_sizes([layer.kv_heads for layer in layers], by_layer=by_layer))
    writer.add_key_length(rope.size)
    writer.add_value_length(rope.size)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_dimension_count(rope.size)
    writer.add_rope_freq_base(rope.base)
    if rope.scale != 1:
        writer.add_rope_scaling_attn_factors(rope.scale)


def _sizes(sizes: list[int], *, by_layer: bool) -> int | list[int]:
    return sizes if by_layer else sizes[0]


def _names(gguf: Any, layout: Layout) -> Callable[[str], str]:  # noqa: ANN401
    """Return the function from names of weights in transformers to those in the file."""
    numbers = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    table = gguf.get_tensor_name_map(numbers[layout.architecture.name], len(layout.layers))

    def name_of(name: str) -> str:
        found = table.get_name(name, (".weight", ".bias"))
        if found is None:
            raise RuntimeError(f"the package gguf has no name for {name}; install the release in constraints.txt")
        return str(found)

    return name_of


def _write_tensors(writer: Any, gguf: Any, entries: Sequence[FileTensor], type: str) -> None:  # noqa: ANN401
    """Write the header, then one tensor after the other: never more than one is in memory in its new format."""
    formats = [gguf.GGMLQuantizationType[_format(entry.shape, type)] for entry in entries]
    for entry, form in zip(entries, formats, strict=True):
        shape = gguf.quant_shape_to_byte_shape(entry.shape, form)
        writer.add_tensor_info(entry.name, entry.shape, np.dtype(np.float32), math.prod(shape), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for entry, form in zip(entries, formats, strict=True):
        data = entry.read().numpy()
        _check(data, entry.name, form.name)
        writer.write_tensor_data(gguf.quants.quantize(data, form))


def _check(data: NDArray[np.float32], name: str, form: str) -> None:
    """Raise InputError where numbers are not finite, or would not be in the format."""
    most = np.abs(data).max(initial=0.0)
    if not np.isfinite(most):
        raise InputError(f"{name} has weights that are NaN or infinite, expected finite ones; check the model")
    if most > LARGEST[form]:
        raise InputError(
            f"the weights of {name} reach {most:.2g}, expected at most {LARGEST[form]:.2g} in {form.lower()}; "
            "pass `type=f32`"
        )


def _format(shape: tuple[int, ...], type: str) -> str:
    """Return the format of a tensor: vectors are not quantised, nor rows that are no whole number of blocks."""
    if len(shape) == 1:
        return "F32"
    return "F16" if type == "q8_0" and shape[-1] % BLOCK else type.upper()
