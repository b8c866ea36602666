"""Export: write a language model with its tokenizer as a GGUF file for llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.errors import InputError
from infoprune.files.drafts import draft_beside
from infoprune.files.folders import check_place
from infoprune.serving.llama_cpp.architecture import choose_layout
from infoprune.serving.llama_cpp.check import check_model
from infoprune.serving.llama_cpp.rope import read_rope
from infoprune.serving.llama_cpp.vocabulary import read_vocabulary
from infoprune.serving.llama_cpp.write import FILE_TYPES, context_of, write_gguf
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.plain import plain_model

SUFFIX = ".gguf"

Type = Literal["f32", "f16", "q8_0"]


@dataclass(frozen=True)
class ExportedGguf:
    """Language model in a GGUF file.

    Args:
        file: The .gguf file.
        type: Number format of the weights.
        bytes: Size of the file.
        architecture: Architecture of llama.cpp that runs it: "deci" and "openelm" have sizes by layer.
        layers: Number of layers in the file, without those that add nothing to their input.
        context: Largest number of tokens for which llama.cpp computes what the model does.
    """

    file: str
    type: str
    bytes: int
    architecture: str
    layers: int
    context: int


@in_ordinary_mode
def export_gguf(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    file: str | PathLike[str],
    *,
    type: Type = "f16",
    force: bool = False,
) -> ExportedGguf:
    """Write a language model and its tokenizer as one .gguf file, which llama.cpp runs.

    Where all layers have the same sizes, the file has the architecture of the model's family. Where they differ, it has
    "deci" (Llama, Mistral, Qwen2) or "openelm" (Qwen3 with shared embeddings), whose sizes are lists. Vectors, such as
    norms and biases, are always in float32.

    Args:
        model: Dense or pruned Llama, Mistral, Qwen2 or Qwen3 with an output layer; not changed.
        tokenizer: Its tokenizer; the chat template is written too.
        file: New file, or an existing one with `force`; it is written completely or not at all.
        type: Number format of the matrices: "f32", "f16", or "q8_0" for 8 bits with a scale for every 32 weights.
        force: Whether to replace an existing file.

    Returns:
        The file, its size and its architecture.

    Raises:
        InputError: No architecture of llama.cpp can express the model, llama.cpp has no such tokenizer, the file
            exists, or the package gguf is not installed.

    Examples:
        >>> infoprune.export_gguf(language_model, its_tokenizer, "model.gguf").architecture
        'llama'
    """
    out = check_gguf_file(file, type=type, force=force)
    gguf = gguf_package()
    plain = plain_model(model)
    check_model(plain)
    layout = choose_layout(plain, read_rope(plain))
    embeddings: Any = plain.get_input_embeddings()
    vocabulary = read_vocabulary(tokenizer, embeddings.num_embeddings)
    out.parent.mkdir(parents=True, exist_ok=True)
    with draft_beside(out) as folder:
        draft = folder / out.name
        write_gguf(gguf, draft, plain, layout, vocabulary, type)
        size = draft.stat().st_size
        draft.replace(out)
    return ExportedGguf(str(file), type, size, layout.architecture.name, len(layout.layers), context_of(plain))


def check_gguf_file(file: str | PathLike[str], *, type: str, force: bool) -> Path:
    """Return the absolute path of the file; raise InputError where it must not be written, or not with this type."""
    if type not in FILE_TYPES:
        raise InputError(f"`type` is {type!r}, expected one of: {', '.join(FILE_TYPES)}; pass e.g. `type=f16`")
    out = Path(file).absolute()
    if out.suffix != SUFFIX:
        raise InputError(f"{file} does not end in {SUFFIX}, expected the name of a GGUF file; pass e.g. {file}{SUFFIX}")
    if out.is_dir() or (out.exists() and not force):
        raise InputError(f"{file} exists, expected a new file; choose another name or pass `force=True`")
    check_place(out)
    return out


def gguf_package() -> Any:  # noqa: ANN401
    """Import the package gguf.

    Raises:
        InputError: It is not installed.
    """
    try:
        return import_module("gguf")
    except ModuleNotFoundError:
        raise InputError(
            f"gguf is not installed, expected it for {SUFFIX} files; run pip install 'infoprune[gguf]'"
        ) from None
