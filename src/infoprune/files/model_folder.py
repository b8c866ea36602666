"""Model folder: the files of a saved model, and its config and plan; no weights are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infoprune.errors import InputError
from infoprune.files.foreign import check_fetched, check_plain, instead_of_model
from infoprune.files.json_file import read_json, read_text
from infoprune.files.weights import check_counts
from infoprune.plan import Plan

PLAN = "plan.json"
CONFIG = "config.json"


def read_plan(folder: Path) -> Plan:
    """Read the plan in a folder."""
    return Plan.from_json(read_text(folder / PLAN, "the file is damaged, prune again"))


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read config.json in a model's folder.

    Args:
        folder: Folder with a config and weights.

    Raises:
        InputError: The folder holds no model, or its config is damaged or names code to fetch and run.
    """
    file = check_model_folder(folder) / CONFIG
    config = read_json(file, "save the model anew")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputError(f"{file} names no model_type, expected a model's config; save the model anew")
    # transformers takes attn_implementation "owner/name" for a kernel on the hub, and runs it.
    foreign = next((text for text in _implementations(config) if "/" in text), None)
    if foreign is not None:
        raise InputError(
            f"{file} names the code {foreign!r} as an implementation, expected none: no code is fetched for a model; "
            'write "sdpa" in its place'
        )
    check_plain(file.parent, config)
    check_counts(config, file.parent)
    return config


def only_class(names: object) -> str | None:
    """Return the only class among the `architectures` of a config, which may be damaged; None where there is not one.

    Examples:
        >>> only_class(["BertModel"])
        'BertModel'
    """
    return names[0] if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) else None


def check_model_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the path of a folder with a config and weights; raise InputError where it is none."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(
            f"there is no folder {path}, expected one with a model saved by save_pretrained; check the path"
        )
    if not (path / CONFIG).is_file():
        no_config = f"{path} has no {CONFIG}, expected a model saved by save_pretrained; check the path"
        raise InputError(instead_of_model(path) or no_config)
    check_fetched(path)
    if not any(path.glob("*.safetensors")):
        raise InputError(
            f"{path} has no weights (*.safetensors); save the model with save_pretrained of a recent transformers"
        )
    return path


def _implementations(config: dict[str, Any]) -> Iterator[str]:
    """Yield all texts under a key such as attn_implementation, at any depth."""
    left: list[tuple[Any, bool]] = [(config, False)]
    while left:
        value, named = left.pop()
        if isinstance(value, dict):
            left += [(inner, named or "_implementation" in key) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(inner, named) for inner in value]
        elif isinstance(value, str) and named:
            yield value
