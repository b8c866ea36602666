"""Origin: what the card of the model that was pruned says, and holds for the pruned one too."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from infoprune.errors import reason_of
from infoprune.files.json_file import read_text

CARD = "README.md"
FORMATS = frozenset(
    {
        "onnx",
        "openvino",
        "pytorch",
        "tf",
        "jax",
        "flax",
        "rust",
        "coreml",
        "tflite",
        "gguf",
        "mlx",
        "safetensors",
        "transformers.js",
        "autotrain_compatible",
        "endpoints_compatible",
        "text-embeddings-inference",
        "text-generation-inference",
    }
)
"""Tags on files and services of the source, which the pruned model may not have."""


@dataclass(frozen=True)
class Origin:
    """Metadata of the card of a model.

    Args:
        license: Licence, as the hub names it.
        license_name: Name of a licence that the hub does not know.
        license_link: Address of its text.
        language: Languages of the texts.
        tags: Tags, without those on file formats and services.
        base_model: Model on the hub that the model was made from.
    """

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base_model: str | None = None


def read_origin(folder: Path) -> Origin:
    """Read the metadata of the card in a folder; empty where there is none, or where it cannot be read.

    Examples:
        >>> read_origin(Path("my-classifier")).license
        'apache-2.0'
    """
    file = folder / CARD
    if not file.is_file():
        return Origin()
    try:
        text = re.match(r"\s*---\s*\n.*?\n---", read_text(file, "write it anew"), re.DOTALL)
        data = {} if text is None else ModelCard(text[0], ignore_metadata_errors=True).data.to_dict()  # type: ignore[no-untyped-call]
    except Exception as error:  # those of YAML, and of whatever stands there in place of metadata
        warnings.warn(
            f"the metadata of {file} cannot be read ({reason_of(error, 100)}): the new card names no licence",
            stacklevel=2,
        )
        return Origin()
    base = _texts(data.get("base_model"))
    return Origin(
        license=_text(data.get("license")),
        license_name=_text(data.get("license_name")),
        license_link=_text(data.get("license_link")),
        language=_texts(data.get("language")),
        tags=tuple(tag for tag in _texts(data.get("tags")) if tag.lower() not in FORMATS),
        base_model=base[0] if len(base) == 1 and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", base[0]) else None,
    )


def _text(value: Any) -> str | None:  # noqa: ANN401
    return value if isinstance(value, str) and len(value) < 200 else None


def _texts(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    values = value if isinstance(value, list) else [value]
    # YAML reads the language "no" as false.
    return tuple(text for each in values[:100] if (text := "no" if each is False else _text(each)) is not None)
