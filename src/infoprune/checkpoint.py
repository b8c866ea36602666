"""Checkpoint: save a pruned model as a folder, and load it with identical weights."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError, reason_of
from infoprune.files.folders import new_folder
from infoprune.files.model_folder import CONFIG, PLAN, read_config
from infoprune.files.modules import lacks_head, transformer_folder
from infoprune.loading.opening import class_in, config_in, empty_in
from infoprune.loading.reading import GENERATION, plan_in, read_model, sized
from infoprune.loading.record import record_sizes
from infoprune.loading.sizes import sizes_in
from infoprune.plan import carry_plan, plan_of
from infoprune.sources.models import model_folder
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.plain import plain_model

WEIGHTS = "model.safetensors"
ATTENTIONS = "output_attentions"


@runtime_checkable
class Preprocessor(Protocol):
    """What turns data into a model's inputs: a tokenizer, image processor, feature extractor, or processor."""

    def save_pretrained(self, save_directory: Any) -> Any:  # noqa: ANN401
        """Write its files into a folder."""


def save(
    model: nn.Module,
    folder: str | os.PathLike[str],
    tokenizer: Preprocessor | None = None,
    *,
    force: bool = False,
) -> None:
    """Save a model, its plan and a tokenizer or processor as a new folder.

    Config and weights are those of `save_pretrained`, which every tool opens; the plan is the record of which units are
    kept.

    Args:
        model: A model of transformers, from `apply_plan`, `repair` or `prune`; a dense one is saved without a plan, and
            of what torch.compile returns the model inside.
        folder: Path of the folder, which has to be new or empty unless `force` is set.
        tokenizer: Tokenizer to save beside the model; for pictures its image processor, for speech its processor.
        force: Replace an existing folder.

    Raises:
        InputError: The folder exists and is not empty, and `force` is not set; or the model is wrapped, quantised, has
            adapters, or has no values.

    Examples:
        >>> infoprune.save(infoprune.prune(model, batches, keep=0.5).model, "half", tokenizer)
        >>> infoprune.load("half").num_parameters() < model.num_parameters()
        True
    """
    plain = plain_model(model)
    with new_folder(folder, force=force) as draft:
        write_model(plain, draft, tokenizer)


def write_model(model: PreTrainedModel, folder: Path, tokenizer: Preprocessor | None = None) -> None:
    """Write the weights in one safetensors file, the config, the plan and the tokenizer or processor into a folder.

    Raises:
        InputError: transformers refuses to write the config, the generation config or the tokenizer.
    """
    if plan_of(model) is not None or sizes_in(model.config) is not None:
        record_sizes(model)
    _write(model, folder, tokenizer)
    for weights in folder.glob("*.safetensors"):  # some releases of safetensors let only the owner read the file
        shutil.copymode(folder / CONFIG, weights)
    plan = plan_of(model)
    if plan is not None:
        (folder / PLAN).write_text(plan.to_json() + "\n", encoding="utf-8")


def check_writable(model: PreTrainedModel, tokenizer: Preprocessor | None = None) -> None:
    """Raise InputError where a model could not be saved: before the work, and not after hours of it.

    Everything but the weights is written into a temporary folder.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _write(model, Path(scratch), tokenizer, {})


def _write(
    model: PreTrainedModel,
    folder: Path,
    tokenizer: Preprocessor | None,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write the files of transformers into a folder; with other weights than those of the model if they are given."""
    fields = vars(model.config)
    key = f"_{ATTENTIONS}" if f"_{ATTENTIONS}" in fields else ATTENTIONS
    asked = fields.get(key)
    try:
        if asked:  # transformers loads this field under any attention, but saves it under one only
            fields[key] = False
        model.save_pretrained(folder, max_shard_size="1000GB", state_dict=weights)
    except OSError:
        raise
    except Exception as error:
        _raise_if_of_system(error)
        written = (folder / CONFIG).is_file() and (folder / CONFIG).stat().st_size > 0
        file, where = (GENERATION, "generation_config") if written else (CONFIG, "config")
        raise InputError(
            f"transformers refuses to write the {where} of this {type(model).__name__} ({reason_of(error)}); correct "
            f"{file} beside the model, or model.{where} in Python"
        ) from None
    finally:
        if asked:
            fields[key] = asked
    if asked:
        fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        text = json.dumps(fields | {ATTENTIONS: asked}, indent=2, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    if tokenizer is None:
        return
    try:
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:
        _raise_if_of_system(error)
        raise InputError(
            f"the {_called(tokenizer)} refuses to be written ({reason_of(error)}), expected one that its "
            "save_pretrained writes; correct its files beside the model"
        ) from None


def _called(preprocessor: Preprocessor) -> str:
    name = type(preprocessor).__name__
    return "image processor" if "ImageProcessor" in name else "processor" if "Processor" in name else "tokenizer"


def _raise_if_of_system(error: Exception) -> None:
    """Raise OSError where a library in Rust passes on an error of the system, such as a full disk, as its own."""
    if "os error" in str(error):
        raise OSError(str(error)) from None


@in_ordinary_mode
def load(folder: str | os.PathLike[str], *, headless: bool = False) -> PreTrainedModel:
    """Load a model that `save` wrote, or any dense model folder, in its saved precision and in eval mode.

    The classes of transformers load the same weights with `from_pretrained`. This function checks more: that no code is
    fetched, that no weight is missing, and that the plan beside the model is that of its sizes.

    Args:
        folder: Folder with config, weights and, if the model is pruned, its plan; or owner/name on the hub, with
            @revision if you like.
        headless: Leave the task head out: the outputs are then hidden states, or their mean as an embedding.

    Returns:
        The model, which carries its plan if there is one.

    Raises:
        InputError: The folder does not exist, has no config or weights, names an unknown class, or has a plan that does
            not fit.

    Examples:
        >>> infoprune.save(infoprune.prune(model, batches, keep=0.5).model, "half", tokenizer)
        >>> small = infoprune.load("half")
        >>> small(**tokenizer("A fine film.", return_tensors="pt")).logits.shape
        torch.Size([1, 2])
    """
    root = model_folder(folder)
    headless, path = headless or lacks_head(root), transformer_folder(root)
    read_config(path)
    config = config_in(path)
    return read_model(path, class_in(path, config, headless=headless), config, headless=headless)


def empty_model(folder: str | os.PathLike[str], *, headless: bool = False) -> PreTrainedModel:
    """Return the model in a folder without weights, on the meta device: it has shapes and no values.

    Args:
        folder: Folder with a config and, if the model is pruned, its plan; or owner/name on the hub.
        headless: Leave the task head out.

    Returns:
        The model in evaluation mode; `forecast` needs no more.

    Raises:
        InputError: The folder has no config, names an unknown class, or has a plan that does not fit.

    Examples:
        >>> found = infoprune.forecast(empty_model("my-classifier"), infoprune.Workload(max_length=64))
        >>> found.parameters == model.num_parameters()
        True
    """
    root = model_folder(folder, weights=False)
    headless, path = headless or lacks_head(root), transformer_folder(root)
    if not (path / CONFIG).is_file():
        raise InputError(f"{path} has no {CONFIG}, expected the folder of a model; check the path")
    config = config_in(path)
    plan = plan_in(path)
    stock = empty_in(path, class_in(path, config, headless=headless), config)
    model, _ = sized(path, stock, config, plan, headless=headless)
    model.to(config.dtype or torch.float32)  # type: ignore[arg-type]
    model.eval()
    if plan is not None:
        carry_plan(model, plan)
    return model
