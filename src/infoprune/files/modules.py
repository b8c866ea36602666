"""Modules: folders of sentence-transformers, which list the modules of a model: where the Transformer is.

`tasks/sentence.py` reads the others, which pool the hidden states.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from infoprune.errors import InputError
from infoprune.files.json_file import read_json
from infoprune.files.model_folder import CONFIG
from infoprune.files.weights import weight_names

MODULES = "modules.json"
REMEDY = "save the model again with sentence-transformers"


def read_modules(folder: Path) -> tuple[dict[str, Any], ...] | None:
    """Read modules.json; return None where there is none.

    Raises:
        InputError: It is damaged, or does not name exactly one Transformer inside of the folder.
    """
    if not (folder / MODULES).is_file():
        return None
    read = read_json(folder / MODULES, REMEDY)
    modules = read if isinstance(read, list) else []
    known = all(
        isinstance(module, dict) and isinstance(module.get("path"), str) and isinstance(module.get("type"), str)
        for module in modules
    )
    inside = known and all((folder / each["path"]).resolve().is_relative_to(folder.resolve()) for each in modules)
    if not inside or sum(module_type(each) == "Transformer" for each in modules) != 1:
        raise InputError(
            f"{folder / MODULES} names no Transformer inside the folder, expected one; save the model again with "
            "sentence-transformers"
        )
    return tuple(modules)


def module_type(module: dict[str, Any]) -> str:
    """Return the name of a module's class, such as "Pooling"."""
    return str(module["type"]).rpartition(".")[2]


def transformer_folder(folder: Path) -> Path:
    """Return the folder of the Transformer in a folder of sentence-transformers; other folders are returned as given.

    Examples:
        >>> transformer_folder(Path("my-embedder"))
        PosixPath('my-embedder/0_Transformer')
    """
    paths = (module["path"] for module in read_modules(folder) or () if module_type(module) == "Transformer")
    return folder / next(paths, "")


def lacks_head(folder: Path) -> bool:
    """Return whether a folder of sentence-transformers holds an encoder alone, although its config names a head.

    sentence-transformers saves the encoder inside of a model, with the config of the whole. The names of the weights
    tell: in a model with a head, those of the encoder begin with the name of the encoder.

    Args:
        folder: Folder with modules.json; other folders never lack a head, since there it would be an error.
    """
    if read_modules(folder) is None:
        return False
    path = transformer_folder(folder)
    config = read_json(path / CONFIG, REMEDY) if (path / CONFIG).is_file() else {}
    names = config.get("architectures") if isinstance(config, dict) else None
    if not (isinstance(names, list) and len(names) == 1 and re.search(r"For[A-Z]\w+$|LMHeadModel$", str(names[0]))):
        return False
    import transformers  # takes seconds

    prefix = str(getattr(getattr(transformers, str(names[0]), None), "base_model_prefix", ""))
    weights = list(weight_names(path))
    return bool(prefix and weights) and not any(name.startswith(f"{prefix}.") for name in weights)
