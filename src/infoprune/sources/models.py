"""Models: the folder of a model that is given by its path or by its name on the hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from infoprune.errors import InputError
from infoprune.files.model_folder import CONFIG
from infoprune.sources.names import SCHEME, is_path, model_name

Progress = Callable[[str, int, int], None]


def model_folder(source: str | os.PathLike[str], *, weights: bool = True, progress: Progress | None = None) -> Path:
    """Return the folder of a model: a local one as it is, or that of a model on the hub in the hub's cache.

    Only the files that are needed are fetched: config, tokenizer, settings, and weights in safetensors; never code or
    pickles. The cache, the token and the offline mode are those of huggingface_hub (HF_HOME, HF_TOKEN,
    HF_HUB_OFFLINE).

    Args:
        source: Path of a folder, or owner/name or owner/name@revision on the hub. A text that begins with the name of
            a local folder is a path; "hf://" in front makes it a name. A `Path` is always a path.
        weights: Whether the weights are needed; if not, those of a model on the hub are not fetched.
        progress: Called with (stage, megabytes done, megabytes in total).

    Returns:
        The path as given, which may not exist, or a folder of the cache.

    Raises:
        InputError: The text is neither, a file lies there, or the model cannot be fetched.

    Examples:
        >>> model_folder("my-classifier")
        PosixPath('my-classifier')
    """
    path = Path(source)
    if path.is_file():
        raise InputError(_file_in_place(path))
    if not isinstance(source, str):
        return path
    repository = model_name(source)
    if is_path(source):
        if repository is not None and "/" in source and not path.exists():
            raise InputError(
                f"there is no folder {source}, expected one with a model saved by save_pretrained; check the path, or "
                f"write {SCHEME}{source} if it is a name on the hub"
            )
        return path
    if repository is None:
        raise InputError(
            f"there is no folder {source}, and it is no name on the hub, expected owner/name or owner/name@revision; "
            "check the path"
        )
    from infoprune.sources.download import fetched  # takes time to import, and local folders do not need it

    return fetched(repository, weights=weights, progress=progress)


def _file_in_place(path: Path) -> str:
    """Return the message for a file where the folder of a model is expected."""
    model = path.absolute().parent
    if (model / CONFIG).is_file():
        return f"{path} is a file, expected the folder of a model; pass {model}"
    if path.suffix in (".onnx", ".gguf"):
        return f"{path} is an exported file, expected the folder of a model; pass the folder that it was exported from"
    return f"{path} is a file, expected the folder of a model; open it with transformers and call save_pretrained"


def name_on_hub(folder: str | os.PathLike[str]) -> str | None:
    """Return owner/name of a model whose folder is in the hub's cache; None for other folders.

    Examples:
        >>> name_on_hub("cache/models--owner--name/snapshots/5c0b1e7")
        'owner/name'
    """
    path = Path(folder).absolute()
    for each in (path, *path.parents):
        repository = each.parent.parent.name
        if each.parent.name == "snapshots" and repository.startswith("models--"):
            return repository.removeprefix("models--").replace("--", "/")
    return None
