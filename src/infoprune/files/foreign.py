"""Foreign: what a folder may hold in place of a plain model: adapters, quantised weights, checkpoints, pointers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from infoprune.errors import InputError

ADAPTER = "adapter_config.json"
QUANTISED = "quantization_config"
OWN = "infoprune"
"""Method by which transformers gives a model pruned sizes; it is in the field of quantisation, and is none."""

_POINTER = b"version https://git-lfs"
_LARGEST_POINTER = 1024
_READ = (".safetensors", ".json", ".model", ".txt")
"""Endings of the files that are read; other formats may well have been left out on purpose."""
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def instead_of_model(folder: Path) -> str | None:
    """Return what a folder without config.json holds instead, and what to do; None where that is not known.

    Examples:
        >>> instead_of_model(Path("my-run"))
        'my-run holds checkpoints, expected the folder of one model; pass e.g. my-run/checkpoint-500'
    """
    if (folder / ADAPTER).is_file():
        return (
            f"{folder} holds an adapter alone ({ADAPTER}), expected a whole model; load it with peft, call "
            "merge_and_unload() and save what that returns with save_pretrained"
        )
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _CHECKPOINT.fullmatch(path.name))]
    if found:
        return f"{folder} holds checkpoints, expected the folder of one model; pass e.g. {max(found)[1]}"
    return None


def check_plain(folder: Path, config: dict[str, Any]) -> None:
    """Raise InputError where the files beside a config, or a field of it, make another model than its weights.

    Args:
        folder: Folder of a model.
        config: Contents of its config.json.
    """
    if (folder / ADAPTER).is_file():
        raise InputError(
            f"{folder} holds an adapter ({ADAPTER}) beside the weights, expected the weights alone, since transformers "
            f"adds the one to the other; remove {ADAPTER} if it is merged already, or merge it and save the model anew"
        )
    quantised = config.get(QUANTISED)
    method = quantised.get("quant_method", "a method without a name") if isinstance(quantised, dict) else None
    if method is not None and method != OWN:
        raise InputError(
            f"{folder / 'config.json'} says that the weights are quantised ({str(method)[:40]}), expected weights that "
            "are not; pass the original model, and quantise the result"
        )


def check_fetched(folder: Path) -> None:
    """Raise InputError where a file of a folder is a pointer of Git LFS, which stands for a file that is not there."""
    for file in sorted(each for each in folder.iterdir() if each.suffix in _READ and each.is_file()):
        if file.stat().st_size <= _LARGEST_POINTER and file.read_bytes().startswith(_POINTER):
            raise InputError(f"{file} is a pointer of Git LFS, expected the file itself; fetch it with Git LFS")
