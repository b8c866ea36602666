"""Checkpoint: save a pruned model as a folder, and load it with identical weights."""

from __future__ import annotations

import inspect
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from infoprune.errors import InputError
from infoprune.files.folders import new_folder
from infoprune.files.model_folder import CONFIG, PLAN, read_config, read_plan, weight_names
from infoprune.files.modules import lacks_head, transformer_folder
from infoprune.loading.method import align
from infoprune.loading.planned import check_indices, check_plan, sizes_of_plan
from infoprune.loading.record import empty_of, record_sizes
from infoprune.loading.shrink import shrink
from infoprune.loading.sizes import Sizes, sizes_in, write_sizes
from infoprune.plan import Plan, carry_plan, plan_of
from infoprune.sources.models import model_folder
from infoprune.structure.plain import plain_model

WEIGHTS = "model.safetensors"
POOLER = "add_pooling_layer"


def save(
    model: nn.Module,
    folder: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    force: bool = False,
) -> None:
    """Save a model, its plan and a tokenizer as a new folder.

    Config and weights are those of `save_pretrained`, which every tool opens; the plan is the record of which units are
    kept.

    Args:
        model: A model of transformers, from `apply_plan`, `repair` or `prune`; a dense one is saved without a plan, and
            of what torch.compile returns the model inside.
        folder: Path of the folder, which has to be new or empty unless `force` is set.
        tokenizer: Tokenizer to save beside the model.
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


def write_model(model: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Write the weights in one safetensors file, the config, the plan and the tokenizer into a folder."""
    if plan_of(model) is not None or sizes_in(model.config) is not None:
        record_sizes(model)
    model.save_pretrained(folder, max_shard_size="1000GB")
    for weights in folder.glob("*.safetensors"):  # some releases of safetensors let only the owner read the file
        shutil.copymode(folder / CONFIG, weights)
    plan = plan_of(model)
    if plan is not None:
        (folder / PLAN).write_text(plan.to_json() + "\n", encoding="utf-8")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


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
    model_class, config = _model_class(path, headless=headless), _config(path)
    plan = read_plan(path) if (path / PLAN).is_file() else None
    sizes = _checked_sizes(path, model_class, config, plan, headless=headless)
    write_sizes(config, sizes)
    model = _load(path, model_class, config, _without_pooler(path, model_class))
    if plan is None:
        return model
    try:
        check_indices(plan, model)
    except InputError as error:
        raise _disagreement(path, error) from None
    if sizes is None:
        align(model)
    carry_plan(model, plan)
    return model


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
    config, model_class = _config(path), _model_class(path, headless=headless)
    plan = read_plan(path) if (path / PLAN).is_file() else None
    sizes = _checked_sizes(path, model_class, config, plan, headless=headless)
    model = _empty(path, model_class, config)
    if sizes is not None:
        shrink(model, sizes)
    model.to(config.dtype or torch.float32)  # type: ignore[arg-type]
    model.eval()
    if plan is not None:
        carry_plan(model, plan)
    return model


def _checked_sizes(
    path: Path, model_class: type[PreTrainedModel], config: PretrainedConfig, plan: Plan | None, *, headless: bool
) -> Sizes | None:
    """Return the sizes in a config, or those of the plan beside it where the folder is of release 0.1.

    Raises:
        InputError: The sizes are damaged, or plan and config disagree.
    """
    sizes = sizes_in(config)
    if plan is None:
        return sizes
    stock = _empty(path, model_class, config)
    try:
        sizes = sizes or sizes_of_plan(plan, stock, weight_names(path))
        check_plan(plan, stock, sizes, headless=headless)
    except InputError as error:
        raise _disagreement(path, error) from None
    return sizes


def _disagreement(path: Path, error: InputError) -> InputError:
    return InputError(
        f"{path / PLAN} and the model beside it disagree: {error}; the folder is damaged: remove the plan to open the "
        "model without a record of its units, or prune again"
    )


def _empty(path: Path, model_class: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    try:
        return empty_of(model_class, config, _without_pooler(path, model_class))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, StrictDataclassError) as error:
        raise InputError(f"{path / CONFIG} describes no model ({_reason(error)}); check the file") from None


def _load(
    path: Path, model_class: type[PreTrainedModel], config: PretrainedConfig, options: dict[str, Any]
) -> PreTrainedModel:
    try:
        loaded: Any = model_class.from_pretrained(
            path,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="auto",
            output_loading_info=True,
            **options,
        )
    except InputError:
        raise
    except (SafetensorError, RuntimeError, OSError, ValueError, TypeError, ImportError) as error:
        plan = f" (with {PLAN})" if (path / PLAN).is_file() else ""
        raise InputError(
            f"the weights in {path}{plan} cannot be loaded ({_reason(error)}); check or download them again"
        ) from None
    model: PreTrainedModel = loaded[0]
    info: dict[str, Any] = loaded[1]
    sizes = sizes_in(config)
    missing = {*info["missing_keys"]} - {*(sizes.indices if sizes else ())}
    if missing:
        raise InputError(
            f"the weights in {path} lack {sorted(missing)[:3]} of {model_class.__name__}; "
            "fine-tune the model first (infoprune finetune), or check the file"
        )
    model.eval()
    return model


def _without_pooler(path: Path, model_class: type[PreTrainedModel]) -> dict[str, Any]:
    """Return the options that leave out the pooler of a headless model where its weights have none."""
    if POOLER not in inspect.signature(model_class).parameters:
        return {}
    names = list(weight_names(path))
    return {POOLER: False} if names and not any("pooler." in name for name in names) else {}


def _model_class(path: Path, *, headless: bool = False) -> type[PreTrainedModel]:
    config = _config(path)
    if headless and type(config) in MODEL_MAPPING:
        base: Any = MODEL_MAPPING[type(config)]
        return base[0] if isinstance(base, tuple) else base  # type: ignore[no-any-return]
    names = config.architectures or []
    found = getattr(transformers, names[0], None) if len(names) == 1 else None
    if not (isinstance(found, type) and issubclass(found, PreTrainedModel)):
        raise InputError(
            f"{path / CONFIG} names the architectures {names}, expected one class of transformers; "
            "save the model with save_pretrained from its own class"
        )
    return found


def _config(path: Path) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StrictDataclassError) as error:
        raise InputError(f"{path / CONFIG} cannot be read by transformers ({_reason(error)}); check the file") from None
    return config


def _reason(error: Exception) -> str:
    """Return the message of another library's error, on one line."""
    return " ".join(str(error).split())[:200]
