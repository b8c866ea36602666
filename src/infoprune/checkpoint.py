"""Checkpoint: save a pruned model as a folder, and load it with identical weights."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Collection
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
from infoprune.plan import VOCABULARY, Plan, carry_plan, plan_of
from infoprune.structure.embeddings import count_rows
from infoprune.structure.narrow import narrow_layers
from infoprune.structure.sites import layer_entries, sites_by_name
from infoprune.structure.token_remapping import keep_rows, read_rows, why_not
from infoprune.surgery import cut_site

WEIGHTS = "model.safetensors"
POOLER = "add_pooling_layer"


def save(
    model: PreTrainedModel,
    folder: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    force: bool = False,
) -> None:
    """Save a model, its plan and a tokenizer as a new folder.

    Args:
        model: A model from `apply_plan`, `repair` or `prune`; a dense model is saved without a plan.
        folder: Path of the folder, which has to be new or empty unless `force` is set.
        tokenizer: Tokenizer to save beside the model.
        force: Replace an existing folder.

    Raises:
        InputError: The folder exists and is not empty, and `force` is not set.

    Examples:
        >>> infoprune.save(infoprune.prune(model, batches, keep=0.5).model, "half", tokenizer)
        >>> infoprune.load("half").num_parameters() < model.num_parameters()
        True
    """
    with new_folder(folder, force=force) as draft:
        write_model(model, draft, tokenizer)


def write_model(model: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Write the weights in one safetensors file, the config, the plan and the tokenizer into a folder."""
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

    Args:
        folder: Folder with config, weights and, if the model is pruned, its plan.
        headless: Leave the task head out: the outputs are then hidden states, or their mean as an embedding.

    Returns:
        The model, which carries its plan if it is pruned.

    Raises:
        InputError: The folder does not exist, has no config or weights, names an unknown class, or has a plan that does
            not fit.

    Examples:
        >>> infoprune.save(infoprune.prune(model, batches, keep=0.5).model, "half", tokenizer)
        >>> small = infoprune.load("half")
        >>> small(**tokenizer("A fine film.", return_tensors="pt")).logits.shape
        torch.Size([1, 2])
    """
    path = Path(folder)
    read_config(path)
    if not (path / PLAN).is_file():
        return load_dense(path, headless=headless)
    plan = read_plan(path)
    model_class = _model_class(path, headless=headless)
    model = _load(path, _cut_class(model_class, plan, path), _without_pooler(path, model_class))
    model.__class__ = model_class
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()  # from the mapped file into aligned memory, which decides on the last bits
    return _with_plan(model, plan)


def empty_model(folder: str | os.PathLike[str], *, headless: bool = False) -> PreTrainedModel:
    """Return the model in a folder without weights, on the meta device: it has shapes and no values.

    Args:
        folder: Folder with a config and, if the model is pruned, its plan.
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
    path = Path(folder)
    if not (path / CONFIG).is_file():
        raise InputError(f"{path} has no {CONFIG}, expected the folder of a model; check the path")
    config, model_class = _config(path), _model_class(path, headless=headless)
    built = _cut_class(model_class, read_plan(path), path) if (path / PLAN).is_file() else model_class
    with torch.device("meta"):
        model: PreTrainedModel = built(config)
    model.__class__ = model_class
    model.to(config.dtype or torch.float32)  # type: ignore[arg-type]
    model.eval()
    return _with_plan(model, read_plan(path)) if (path / PLAN).is_file() else model


def _with_plan(model: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """Add to a model that is cut already what is not in the weights: the plan, and the hooks that depend on it."""
    if plan.rows is not None:
        read_rows(model, torch.tensor(plan.rows))
    narrow_layers(model, layer_entries(model), plan.kept, plan.units)
    carry_plan(model, plan)
    return model


def _cut_class(model_class: type[PreTrainedModel], plan: Plan, path: Path) -> type[PreTrainedModel]:
    """Return the class with the plan's cut at the end of its constructor, so that transformers' loader can fill it.

    The loader supports the names that weights had in earlier releases, which would have to be repeated here otherwise.
    """

    def construct(self: PreTrainedModel, config: PretrainedConfig, *args: object, **kwargs: object) -> None:
        model_class.__init__(self, config, *args, **kwargs)
        sites = sites_by_name(self)
        counts = dict(plan.counts)
        kept, of = counts.pop(VOCABULARY, (count_rows(self), 0))
        tokens = kept if plan.rows is None else of
        if tokens != count_rows(self) or (plan.rows is not None and why_not(self)):  # a stock config has the size
            raise InputError(
                f"{path / PLAN} keeps {tokens} tokens, {path / CONFIG} has {count_rows(self)}; "
                "the folder is damaged, prune again"
            )
        if plan.rows is not None:
            keep_rows(self, range(kept), plan.rows)
        if plan.model_type != config.model_type or counts.keys() - sites.keys():
            raise InputError(
                f"{path / PLAN} is for a {plan.model_type} with sites that {path / CONFIG} does not have; "
                "the folder is damaged, prune again"
            )
        for name, (units, _) in counts.items():
            if units > sites[name].units:
                raise InputError(
                    f"{path / PLAN} keeps {units} units of {name}, {path / CONFIG} has {sites[name].units}; "
                    "the folder is damaged, prune again"
                )
            if units < sites[name].units:
                cut_site(self, sites[name], torch.arange(units))
        _add_biases(self, path, [reader for site in sites.values() for reader in site.readers])

    return type(model_class.__name__, (model_class,), {"__init__": construct, "__module__": model_class.__module__})


def _add_biases(model: PreTrainedModel, path: Path, readers: Collection[str]) -> None:
    """Add empty biases to readers that have one in the folder but not in their class (`take_up_means`)."""
    written = [f".{name}" for name in weight_names(path)]  # with a prefix that a model without its head lacks
    for reader in readers:
        module, name = model.get_submodule(reader), f".{reader}.bias"
        if isinstance(module, nn.Linear) and module.bias is None and any(each.endswith(name) for each in written):
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_features))


def load_dense(path: Path, *, headless: bool = False) -> PreTrainedModel:
    """Load a dense model of the class that its config names, or of that class without its head."""
    model_class = _model_class(path, headless=headless)
    return _load(path, model_class, _without_pooler(path, model_class))


def _load(path: Path, model_class: type[PreTrainedModel], options: dict[str, Any]) -> PreTrainedModel:
    try:
        loaded: Any = model_class.from_pretrained(
            path, use_safetensors=True, trust_remote_code=False, dtype="auto", output_loading_info=True, **options
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
    if info["missing_keys"]:
        raise InputError(
            f"the weights in {path} lack {sorted(info['missing_keys'])[:3]} of {model_class.__name__}; "
            "fine-tune the model first (infoprune finetune), or check the file"
        )
    model.eval()
    return model


def _without_pooler(path: Path, model_class: type[PreTrainedModel]) -> dict[str, Any]:
    """Return the options that leave out the pooler of a headless model where its weights have none."""
    if POOLER not in inspect.signature(model_class).parameters:
        return {}
    return {} if any("pooler." in name for name in weight_names(path)) else {POOLER: False}


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
