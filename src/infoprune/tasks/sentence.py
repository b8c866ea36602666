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
from infoprune.files.links import check_links
from infoprune.files.modules import MODULES, REMEDY, module_type, read_modules, transformer_folder
from infoprune.statistics.answer import POOLINGS, Pooling

BESIDE = "config_sentence_transformers.json"
WITHIN = "sentence_bert_config.json"
SIZES = ("word_embedding_dimension", "embedding_dimension")
"""Names of the hidden size in the config of the pooling."""


@dataclass(frozen=True)
class SentenceFolder:
    """Contents of a folder of sentence-transformers.

    Args:
        folder: Folder with modules.json.
        transformer: Folder of the Transformer: the same, or one inside it.
        pooling: Pooling of the hidden states of all tokens.
        max_length: Tokens at which an input is truncated; None where not specified.
        modules: Entries of modules.json.
        embeds: Whether it gives embeddings; a CrossEncoder gives what the head of its Transformer does.
        prompt: Text that sentence-transformers puts before every text; empty where there is none.
    """

    folder: Path
    transformer: Path
    pooling: Pooling
    max_length: int | None
    modules: tuple[dict[str, Any], ...]
    embeds: bool = True
    prompt: str = ""

    def write_beside(self, out: Path, hidden_size: int | None = None) -> None:
        """Write the files beside a Transformer that make its folder a folder of sentence-transformers.

        The Transformer stays at the root, where all other libraries expect it. Links are written as the files that
        they lead to.

        Args:
            out: Folder with the Transformer.
            hidden_size: Size of its hidden states, where it may have changed.
        """
        modules = [
            {**module, "path": ""} if module_type(module) == "Transformer" else module for module in self.modules
        ]
        (out / MODULES).write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
        for file in (self.folder / BESIDE, self.transformer / WITHIN):
            if file.is_file():
                shutil.copyfile(file, out / file.name)
        for module in self.modules:
            source = self.folder / module["path"]
            if module_type(module) != "Transformer" and module["path"] and source.is_dir():
                shutil.copytree(source, out / module["path"])
                if module_type(module) == "Pooling" and hidden_size is not None:
                    _resize(out / module["path"] / "config.json", hidden_size)


def read_sentence_folder(folder: str | PathLike[str]) -> SentenceFolder | None:
    """Read a folder of sentence-transformers; return None where there is no modules.json.

    Raises:
        InputError: modules.json is damaged, has no Transformer, or has a pooling that is not supported; or a file is a
            link out of the folder.
    """
    root = Path(folder)
    modules = read_modules(root)
    if modules is None:
        return None
    transformer = transformer_folder(root)
    pooling: Pooling = "mean"
    for module in modules:
        if module_type(module) != "Transformer" and module["path"]:
            check_links(root / module["path"], root)
        if module_type(module) == "Pooling":
            pooling = _pooling(root / module["path"] / "config.json")
    for file in (root / BESIDE, transformer / WITHIN):
        check_links(file, root)
    limits = read_json(transformer / WITHIN, REMEDY) if (transformer / WITHIN).is_file() else {}
    longest = limits.get("max_seq_length") if isinstance(limits, dict) else None
    beside = read_json(root / BESIDE, REMEDY) if (root / BESIDE).is_file() else {}
    settings = beside if isinstance(beside, dict) else {}
    return SentenceFolder(
        root,
        transformer,
        pooling,
        longest if isinstance(longest, int) else None,
        modules,
        settings.get("model_type") != "CrossEncoder",
        _prompt(settings),
    )


def _prompt(settings: dict[str, Any]) -> str:
    prompts, name = settings.get("prompts"), settings.get("default_prompt_name")
    found = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    return found if isinstance(found, str) else ""


def _resize(file: Path, hidden_size: int) -> None:
    """Write the hidden size into the config of a pooling, if it is another."""
    read = read_json(file, REMEDY) if file.is_file() else {}
    config = read if isinstance(read, dict) else {}
    if any(config.get(name, hidden_size) != hidden_size for name in SIZES):
        changed = {name: hidden_size for name in SIZES if name in config}
        file.write_text(json.dumps({**config, **changed}, indent=2) + "\n", encoding="utf-8")


def _pooling(file: Path) -> Pooling:
    read = read_json(file, REMEDY) if file.is_file() else {}
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
