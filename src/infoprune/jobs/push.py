"""Push: the job of `infoprune push`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from infoprune.errors import InputError
from infoprune.files.links import check_links
from infoprune.files.model_folder import check_model_folder
from infoprune.files.modules import read_modules, transformer_folder
from infoprune.jobs.inputs import StrPath
from infoprune.pipeline.clock import StageProgress
from infoprune.reports.card import renamed
from infoprune.reports.origin import CARD
from infoprune.sources.download import BESIDE
from infoprune.sources.names import model_name
from infoprune.sources.upload import check_token, upload

MODEL = (*BESIDE, "*.safetensors")
"""Files of a model, and those that infoprune writes beside it; whatever else is in the folder is not pushed."""

ROOT = (*MODEL, "report.md", "report.html", "sizes.png", "LICENSE*", "NOTICE*", "*.gguf", "onnx/*.onnx", "onnx/*_data")


@dataclass(frozen=True)
class Pushed:
    """Result of a push.

    Args:
        address: Address of the repository.
        private: Whether only its owner can read it.
        files: Names of the files that were pushed.
        bytes: Their size.
    """

    address: str
    private: bool
    files: tuple[str, ...]
    bytes: int


def push_folder(
    folder: StrPath,
    repository: str,
    *,
    public: bool = False,
    message: str = "Upload a pruned model",
    progress: StageProgress | None = None,
) -> Pushed:
    """Write the model in a folder, with its card and reports, to a repository on the hub.

    The token is that of huggingface_hub (HF_TOKEN, or `hf auth login`).

    Args:
        folder: Folder of the model.
        repository: owner/name, or owner/name@branch; it is made where there is none.
        public: Whether anybody may read a new repository; an existing one that is public is refused without it.
        message: Message of the commit.
        progress: Called with (stage, done, of).

    Raises:
        InputError: The folder holds no model, or the repository cannot be written to; the message gives the remedy.

    Examples:
        >>> push_folder("half", "owner/my-classifier-half").address
        'https://huggingface.co/owner/my-classifier-half'
    """
    root = Path(folder)
    check_model_folder(transformer_folder(root))
    target = model_name(repository)
    if target is None or "/" not in target.name:
        raise InputError(
            f"the repository is {repository!r}, expected owner/name or owner/name@branch; pass e.g. "
            f"owner/{root.absolute().name}"
        )
    check_token()
    found = dict(_files(root))
    files: dict[str, Path | bytes] = dict(found)
    if CARD in found:
        text = renamed(found[CARD].read_text(encoding="utf-8"), root.absolute().name, target.name)
        files[CARD] = text.encode()
    if progress is not None:
        progress("push", 0, 1)
    address, private = upload(files, target, public=public, message=message)
    if progress is not None:
        progress("push", 1, 1)
    if CARD not in found:
        warnings.warn(f"{root} has no {CARD}: the repository gets no model card from it", stacklevel=2)
    return Pushed(address, private, tuple(sorted(files)), sum(path.stat().st_size for path in found.values()))


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files to push, by their names in the repository."""
    inside = [f"{each['path']}/" for each in read_modules(root) or () if each["path"]]
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        within = next((before for before in inside if name.startswith(before)), "")
        patterns = MODEL if within else ROOT
        rest = name.removeprefix(within)
        matched = any(fnmatch(rest, each) and rest.count("/") == each.count("/") for each in patterns)
        if matched and path.is_file():
            check_links(path, root)
            yield name, path
