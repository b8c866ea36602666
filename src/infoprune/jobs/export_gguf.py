"""Export as GGUF: the job of `infoprune export` for .gguf files."""

from __future__ import annotations

from infoprune.checkpoint import load
from infoprune.files.model_folder import only_class, read_config
from infoprune.jobs.inputs import StrPath
from infoprune.jobs.models import open_tokenizer
from infoprune.pipeline.clock import StageProgress
from infoprune.serving.llama_cpp.check import check_type
from infoprune.serving.llama_cpp.export import ExportedGguf, Type, check_gguf_file, export_gguf, gguf_package
from infoprune.sources.models import model_folder

__all__ = ["ExportedGguf", "export_gguf_folder"]


def export_gguf_folder(
    folder: StrPath,
    file: StrPath,
    *,
    type: Type = "f16",
    force: bool = False,
    progress: StageProgress | None = None,
) -> ExportedGguf:
    """Write the dense or pruned language model in a folder as one .gguf file.

    Args:
        folder: Folder with the model and its tokenizer, or its name on the hub.
        file: The .gguf file; it is written completely or not at all.
        type: Number format of the matrices: "f32", "f16" or "q8_0".
        force: Whether to replace `file` if it exists.
        progress: Called with (stage, done, of) while a model is fetched.

    Raises:
        InputError: The folder or an argument is not valid, or llama.cpp cannot run such a model; the message gives the
            remedy. The weights are not read where the config says so.

    Examples:
        >>> export_gguf_folder("four-fifths", "four-fifths.gguf", type="q8_0").architecture
        'deci'
    """
    check_gguf_file(file, type=type, force=force)
    gguf_package()
    place = model_folder(folder, progress=progress)
    config = read_config(place)
    check_type(config["model_type"], only_class(config.get("architectures")) or "")
    tokenizer = open_tokenizer(place)
    return export_gguf(load(place), tokenizer, file, type=type, force=force)
