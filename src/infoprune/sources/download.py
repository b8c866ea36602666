"""Download: the files of a model on the hub that are needed, and no others, in huggingface_hub's cache."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

import infoprune
from infoprune.errors import InputError
from infoprune.files.json_file import read_json
from infoprune.files.model_folder import CONFIG
from infoprune.files.modules import MODULES, module_type, read_modules
from infoprune.sources.bar import Advance, bar_class
from infoprune.sources.names import Repository
from infoprune.sources.refusals import address, refusals, unreachable

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
BESIDE = (
    CONFIG,
    INDEX,
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    # tokenizers
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "normalizer.json",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    # sentence-transformers
    MODULES,
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    # licence and language, and what infoprune itself writes
    "README.md",
    "plan.json",
    "report.json",
)
"""Small files of a model; never code, and no weights in other formats."""

TRAINED = ("Dense", "LayerNorm", "CNN", "LSTM", "WeightedLayerPooling")
"""Modules of sentence-transformers that have weights of their own, beside the Transformer."""

FORMATS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx", ".safetensors")
"""Endings of the names of weights, for a message."""

REMEDY = "the file is damaged on the hub, name another revision"


def fetched(repository: Repository, *, weights: bool, progress: Advance | None = None) -> Path:
    """Return the folder in the cache with the files of a model, fetched where the cache lacks them.

    Small files come first: they tell which weights there are. All files are of one commit.

    Args:
        repository: Name of the model.
        weights: Whether the weights are needed too.
        progress: Called with (stage, megabytes done, megabytes in total).

    Raises:
        InputError: There is no such model or revision, or no access to it; it has no weights in safetensors; or it is
            not in the cache, and the hub cannot be reached.
    """
    with refusals(repository):
        folder = _snapshot(repository, BESIDE)
    at = Repository(repository.name, folder.name, "model", repository.given)
    modules = [(each["path"], module_type(each)) for each in read_modules(folder) or ()]
    inside = [path for path, _ in modules if path]
    if inside:
        with refusals(repository):
            _snapshot(at, [f"{glob.escape(path)}/{name}" for path in inside for name in BESIDE])
    if not modules and not (folder / CONFIG).is_file():
        _check_listed(repository, at, CONFIG, "a model saved by save_pretrained; check the name")
    if weights:
        names = [name for path, module in modules or [("", "")] for name in _weights(folder, path, module)]
        with refusals(repository):
            # with a file that is there, since huggingface_hub warns where nothing matches
            _snapshot(at, [CONFIG, *(glob.escape(name) for name in names)], progress=progress, shown=True)
        for name in names:
            if not (folder / name).is_file():
                _check_listed(repository, at, name, _IN_SAFETENSORS)
    return folder


_IN_SAFETENSORS = (
    "weights in safetensors; open it with transformers and save it with save_pretrained, or name a revision that has "
    "them, such as refs/pr/1"
)


def _snapshot(
    repository: Repository, names: Sequence[str], *, progress: Advance | None = None, shown: bool = False
) -> Path:
    """Fetch the files with these names that there are; `shown` leaves the hub's own bars where `progress` is None."""
    hidden = progress is not None or not shown
    return Path(
        snapshot_download(
            repository.name,
            revision=repository.revision,
            allow_patterns=list(names),
            library_name="infoprune",
            library_version=infoprune.__version__,
            tqdm_class=bar_class(progress) if hidden else None,
        )
    )


def _weights(folder: Path, path: str, module: str) -> list[str]:
    """Return the names of the files of weights of one module, or of a model that is no list of modules."""
    if module not in ("", "Transformer", *TRAINED):
        return []
    before = f"{path}/" if path else ""
    if not (folder / path / INDEX).is_file():
        return [before + WEIGHTS]
    read = read_json(folder / path / INDEX, REMEDY)
    shards = read.get("weight_map") if isinstance(read, dict) else None
    names = sorted(set(shards.values())) if isinstance(shards, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(f"{folder / path / INDEX} does not list files of weights; {REMEDY}")
    return [before + name for name in names]


def _check_listed(repository: Repository, at: Repository, name: str, expected: str) -> None:
    """Raise InputError for a file that is missing: the hub does not have it, or it is not in the cache."""
    with refusals(repository):
        names = HfApi().list_repo_files(repository.name, revision=at.revision)
        if name in names:
            raise InputError(unreachable(repository))
    others = [each for each in names if each.endswith(FORMATS) and "/" not in each][:3]
    there = f" but {', '.join(others)}" if others else ""
    raise InputError(f"{address(repository)} has no {name}{there}, expected {expected}")
