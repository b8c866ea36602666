"""Sentence: folders of sentence-transformers, a Transformer with the modules that pool its hidden states."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from infoprune.errors import InputError
from infoprune.files.json_file import read_json
from infoprune.statistics.answer import POOLINGS, Pooling

MODULES = "modules.json"
BESIDE = "config_sentence_transformers.json"
WITHIN = "sentence_bert_config.json"


@dataclass(frozen=True)
class SentenceFolder:
    """Contents of a folder of sentence-transformers.

    Args:
        folder: Folder with modules.json.
        transformer: Folder of the Transformer: the same, or one inside it.
        pooling: Pooling of the hidden states of all tokens.
        max_length: Tokens at which an input is truncated; None where not specified.
        modules: Entries of modules.json.
    """

    folder: Path
    transformer: Path
    pooling: Pooling
    max_length: int | None
    modules: tuple[dict[str, Any], ...]

    def write_beside(self, out: Path) -> None:
        """Write the files beside a Transformer that make its folder a folder of sentence-transformers.

        The Transformer stays at the root, where all other libraries expect it.
        """
        modules = [{**module, "path": ""} if _is(module, "Transformer") else module for module in self.modules]
        (out / MODULES).write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
        for file in (self.folder / BESIDE, self.transformer / WITHIN):
            if file.is_file():
                shutil.copyfile(file, out / file.name)
        for module in self.modules:
            source = self.folder / module["path"]
            if not _is(module, "Transformer") and module["path"] and source.is_dir():
                shutil.copytree(source, out / module["path"])


def read_sentence_folder(folder: str | PathLike[str]) -> SentenceFolder | None:
    """Read a folder of sentence-transformers; return None where there is no modules.json.

    Raises:
        InputError: modules.json is damaged, has no Transformer, or has a pooling that is not supported.
    """
    root = Path(folder)
    if not (root / MODULES).is_file():
        return None
    modules = _read(root / MODULES)
    known = isinstance(modules, list) and all(
        isinstance(module, dict) and isinstance(module.get("path"), str) and isinstance(module.get("type"), str)
        for module in modules
    )
    inside = known and all((root / each["path"]).resolve().is_relative_to(root.resolve()) for each in modules)
    transformers = [each for each in modules if _is(each, "Transformer")] if inside else []
    if len(transformers) != 1:
        raise InputError(
            f"{root / MODULES} names no Transformer inside the folder, expected one; save the model again with "
            "sentence-transformers"
        )
    transformer = root / transformers[0]["path"]
    pooling: Pooling = "mean"
    for module in modules:
        if _is(module, "Pooling"):
            pooling = _pooling(root / module["path"] / "config.json")
    limits = _read(transformer / WITHIN) if (transformer / WITHIN).is_file() else {}
    longest = limits.get("max_seq_length") if isinstance(limits, dict) else None
    return SentenceFolder(root, transformer, pooling, longest if isinstance(longest, int) else None, tuple(modules))


def _is(module: dict[str, Any], name: str) -> bool:
    return str(module["type"]).rpartition(".")[2] == name


def _pooling(file: Path) -> Pooling:
    read = _read(file) if file.is_file() else {}
    config = read if isinstance(read, dict) else {}
    modes = {name for name, on in config.items() if name.startswith("pooling_mode_") and on is True}
    if isinstance(config.get("pooling_mode"), str):
        modes = {config["pooling_mode"]}
    for pooling in POOLINGS:
        if modes <= {f"pooling_mode_{pooling}_token", f"pooling_mode_{pooling}_tokens", pooling}:
            return pooling
    raise InputError(
        f"{file} pools by {', '.join(sorted(modes))}, expected one of: {', '.join(POOLINGS)}; "
        "load the Transformer alone with infoprune.load, and pass it to infoprune.prune"
    )


def _read(file: Path) -> Any:  # noqa: ANN401
    return read_json(file, "save the model again with sentence-transformers")
