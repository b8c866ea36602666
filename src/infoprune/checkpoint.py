"""Checkpoint: a pruned model as a folder, and back again bit by bit."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from infoprune.errors import InputError
from infoprune.folders import new_folder
from infoprune.json_file import read_json, read_text
from infoprune.plan import VOCABULARY, Plan, carry_plan, plan_of
from infoprune.structure.embeddings import count_rows
from infoprune.structure.narrow import narrow_layers
from infoprune.structure.sites import layer_entries, sites_by_name
from infoprune.structure.stand_ins import keep_rows, read_rows, why_not
from infoprune.surgery import cut_site

PLAN = "plan.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
POOLER = "add_pooling_layer"


def save(
    model: PreTrainedModel,
    folder: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    force: bool = False,
) -> None:
    """Writes a model, the plan it carries and a tokenizer as a new folder.

    Args:
        model: from `prune`, `repair` or `compress`; a dense model is saved without a plan.
        folder: does not exist, or is empty, or `force` is set.
        tokenizer: saved beside the model if given.
        force: replace what is there.

    Raises:
        InputError: the folder is there and not empty, and `force` is not set.
    """
    with new_folder(folder, force=force) as draft:
        write_model(model, draft, tokenizer)


def write_model(model: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Fills a folder: weights in one safetensors file, config, plan, tokenizer."""
    model.save_pretrained(folder, max_shard_size="1000GB")
    for weights in folder.glob("*.safetensors"):  # some releases of safetensors let only the owner read them
        shutil.copymode(folder / CONFIG, weights)
    plan = plan_of(model)
    if plan is not None:
        (folder / PLAN).write_text(plan.to_json() + "\n", encoding="utf-8")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def load(folder: str | os.PathLike[str], *, headless: bool = False) -> PreTrainedModel:
    """Opens a model that `save` wrote, or any dense model folder, in the precision it was saved in and in eval mode.

    Args:
        folder: with config, weights and, if the model is pruned, its plan.
        headless: leave the task head out: what is left answers with hidden states, or their mean as an embedding.

    Raises:
        InputError: no such folder, no config or weights in it, an unknown class, or a plan that does not fit.

    Example:
        >>> small = infoprune.load("runs/small")
        >>> small(**tokenizer("A fine film.", return_tensors="pt")).logits
    """
    path = Path(folder)
    read_config(path)
    if not (path / PLAN).is_file():
        return load_dense(path, headless=headless)
    plan = read_plan(path)
    kind = _model_class(path, headless=headless)
    model = _load(path, _cut_class(kind, plan, path), _without_pooler(path, kind))
    model.__class__ = kind
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()  # from the mapped file into aligned memory, on which the last bits depend
    return _with_plan(model, plan)


def empty_model(folder: str | os.PathLike[str], *, headless: bool = False) -> PreTrainedModel:
    """The model in a folder without its weights, on the meta device: shapes and no values; the config is enough.

    Args:
        folder: with a config and, if the model is pruned, its plan.
        headless: leave the task head out.

    Raises:
        InputError: no such folder, no config in it, an unknown class, or a plan that does not fit.
    """
    path = Path(folder)
    if not (path / CONFIG).is_file():
        raise InputError(f"{path} has no {CONFIG}, expected the folder of a model; check the path")
    config, kind = _config(path), _model_class(path, headless=headless)
    built = _cut_class(kind, read_plan(path), path) if (path / PLAN).is_file() else kind
    with torch.device("meta"):
        model: PreTrainedModel = built(config)
    model.__class__ = kind
    model.to(config.dtype or torch.float32)  # type: ignore[arg-type]
    model.eval()
    return _with_plan(model, read_plan(path)) if (path / PLAN).is_file() else model


def _with_plan(model: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """The model, cut along the plan already, with what no weight says: the plan, and what hooks look up in it."""
    if plan.rows is not None:
        read_rows(model, torch.tensor(plan.rows))
    narrow_layers(model, layer_entries(model), plan.kept, plan.units)
    carry_plan(model, plan)
    return model


def _cut_class(kind: type[PreTrainedModel], plan: Plan, path: Path) -> type[PreTrainedModel]:
    """The class with the plan's cut at the end of its constructor, so that transformers' own loader can fill it.

    The loader knows the names that weights had in earlier releases; reading the file here would mean to know them too.
    """

    def construct(self: PreTrainedModel, config: PretrainedConfig, *args: object, **kwargs: object) -> None:
        kind.__init__(self, config, *args, **kwargs)
        sites = sites_by_name(self)
        counts = dict(plan.counts)
        kept, of = counts.pop(VOCABULARY, (count_rows(self), 0))
        tokens = kept if plan.rows is None else of
        if tokens != count_rows(self) or (plan.rows is not None and why_not(self)):  # a stock config says it
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

    return type(kind.__name__, (kind,), {"__init__": construct, "__module__": kind.__module__})


def _add_biases(model: PreTrainedModel, path: Path, readers: Collection[str]) -> None:
    """Room for the biases that readers have got although their class has none there (`take_up_means`)."""
    written = [f".{name}" for name in _weight_names(path)]  # with a prefix that a model without its head has not
    for reader in readers:
        module, name = model.get_submodule(reader), f".{reader}.bias"
        if isinstance(module, nn.Linear) and module.bias is None and any(each.endswith(name) for each in written):
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_features))


def _weight_names(path: Path) -> Iterator[str]:
    """Names of the weights in a folder; none of a file that is damaged, which the loader will say."""
    for file in path.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt") as weights:
                yield from weights.keys()
        except SafetensorError:
            return


def read_plan(folder: Path) -> Plan:
    """The plan in a folder."""
    return Plan.from_json(read_text(folder / PLAN, "the file is damaged, prune again"))


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What config.json in a model's folder says; the weights are not read.

    Raises:
        InputError: the folder holds no model, its config is damaged, or names code to fetch and run.
    """
    file = check_model_folder(folder) / CONFIG
    config = read_json(file, "save the model anew")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputError(f"{file} names no model_type, expected a model's config; save the model anew")
    # transformers takes attn_implementation "owner/name" for a kernel on the hub, and runs it.
    foreign = next((text for text in _implementations(config) if "/" in text), None)
    if foreign is not None:
        raise InputError(
            f"{file} names the code {foreign!r} as an implementation, expected none: no code is fetched for a model; "
            'write "sdpa" in its place'
        )
    return config


def _implementations(config: dict[str, Any]) -> Iterator[str]:
    """All texts under a key such as attn_implementation, however deep."""
    left: list[tuple[Any, bool]] = [(config, False)]
    while left:
        value, named = left.pop()
        if isinstance(value, dict):
            left += [(inner, named or "_implementation" in key) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(inner, named) for inner in value]
        elif isinstance(value, str) and named:
            yield value


def check_model_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, if it holds a config and weights; raises InputError otherwise."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(
            f"there is no folder {path}, expected one with a model saved by save_pretrained; check the path"
        )
    if not (path / CONFIG).is_file():
        raise InputError(f"{path} has no {CONFIG}, expected a model saved by save_pretrained; check the path")
    if not any(path.glob("*.safetensors")):
        raise InputError(
            f"{path} has no weights (*.safetensors); save the model with save_pretrained of a recent transformers"
        )
    return path


def load_dense(path: Path, *, headless: bool = False) -> PreTrainedModel:
    """A dense model of the class that its config names, or of that without its head."""
    kind = _model_class(path, headless=headless)
    return _load(path, kind, _without_pooler(path, kind))


def _load(path: Path, kind: type[PreTrainedModel], options: dict[str, Any]) -> PreTrainedModel:
    try:
        loaded: Any = kind.from_pretrained(
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
            f"the weights in {path} lack {sorted(info['missing_keys'])[:3]} of {kind.__name__}; "
            "fine-tune the model first (infoprune finetune), or check the file"
        )
    model.eval()
    return model


def _without_pooler(path: Path, kind: type[PreTrainedModel]) -> dict[str, Any]:
    """What leaves out the pooler of a model without a head, where the weights have none; its embedding needs none."""
    if POOLER not in inspect.signature(kind).parameters:
        return {}
    return {} if any("pooler." in name for name in _weight_names(path)) else {POOLER: False}


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
    """What another library said, on one line."""
    return " ".join(str(error).split())[:200]
