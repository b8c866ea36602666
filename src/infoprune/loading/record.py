"""Record: write the sizes of a cut model into its config, so that any save keeps them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from infoprune.loading.sizes import Sizes, sizes_in, write_sizes
from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER, VOCABULARY, plan_of
from infoprune.structure.embeddings import count_rows, is_remapped
from infoprune.structure.fields import read_field, write_field
from infoprune.structure.linear import linear
from infoprune.structure.narrow import is_narrowed
from infoprune.structure.site import Site
from infoprune.structure.sites import every_site, sites_by_name
from infoprune.structure.stock import fields_of, loads_in
from infoprune.structure.token_remapping import follow_resizing


def record_sizes(model: PreTrainedModel) -> None:
    """Write the sizes of a model into its config, in place.

    Where fields of the class can express all of them, these are rewritten, and plain transformers opens the model.
    Otherwise the fields keep the sizes of the dense model, and `quantization_config` has those that differ: a reader
    that does not know the method then finds weights of other shapes, and fails.

    Args:
        model: A model from `apply_plan`, or one whose readers got a bias since.
    """
    if count_rows(model):
        follow_resizing(model)
    config, sites = model.config, every_site(model, empty=True, bare=True)
    before = _dense_fields(model, sites)
    tried: list[Mapping[str, int | None]] = [before]
    if _may_be_stock(model, sites):
        tried.insert(0, fields_of(sites, {}))
    for fields in tried:
        _write(config, fields)
        write_sizes(config, None)
        sizes = sizes_beyond(model)
        if not sizes:
            return
    write_sizes(config, sizes)


def _may_be_stock(model: PreTrainedModel, sites: tuple[Site, ...]) -> bool:
    """Return whether the plan leaves it open that fields of the class can express all sizes."""
    plan = plan_of(model)
    return plan is None or (plan.token_map is None and loads_in(sites, plan.counts) == "transformers")


def _dense_fields(model: PreTrainedModel, sites: tuple[Site, ...]) -> dict[str, int | None]:
    """Return the size fields of the config before any cut; None for a field that it does not have."""
    config, plan = model.config, plan_of(model)
    now: dict[str, Any] = {each.name: read_field(config, each.name) for site in sites for each in site.config}
    if plan is None or sizes_in(config) is not None:  # then the fields are those of the dense model already
        return now
    return now | {name: value for name, value in fields_of(sites, plan.units).items() if now[name] is not None}


def _write(config: PretrainedConfig, fields: Mapping[str, int | None]) -> None:
    for name, value in fields.items():
        write_field(config, name, value)


def sizes_beyond(model: PreTrainedModel) -> Sizes:
    """Return the sizes of a model that differ from those which its class and the fields of its config imply."""
    classes: tuple[Any, Any] = type(model), type(model.config)  # types of hashable classes, which mypy takes for others
    fields = {name: value for name, value in model.config.to_dict().items() if name not in ("dtype", "torch_dtype")}
    stock, known = _stock(*classes, json.dumps(fields, default=str))
    unseen = HIDDEN_SIZE if is_narrowed(model) else HIDDEN_SIZE_PER_LAYER
    sites = [site for site in known if site.structure != unseen]
    units = {site.name: units_in(model, site) for site in sites}
    different = {site.name: units[site.name] for site in sites if units[site.name] != site.units}
    if is_remapped(model):
        different[VOCABULARY] = count_rows(model)
    return Sizes(different, tuple(within_base(model, path) for path in _added_biases(stock, model)))


@lru_cache(maxsize=4)
def _stock(
    model_class: type[PreTrainedModel], config_class: type[PretrainedConfig], config: str
) -> tuple[PreTrainedModel, tuple[Site, ...]]:
    """Return a model of stock sizes on the meta device, from the text of its config without dtype, and its sites.

    It is kept, since one model is cut several times on the way to a result.
    """
    stock = empty_of(model_class, config_class.from_dict(json.loads(config)))
    return stock, tuple(sites_by_name(stock, bare=True).values())


def empty_of(
    model_class: type[PreTrainedModel], config: PretrainedConfig, options: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """Return a model of stock sizes, as its class builds it from a config, on the meta device: without values.

    Args:
        model_class: Class of transformers.
        config: Config of the model; its pruned sizes are left aside.
        options: Further arguments of the class.
    """
    stock = copy.deepcopy(config)
    write_sizes(stock, None)
    with torch.device("meta"):
        return model_class(stock, **(options or {}))


def units_in(model: PreTrainedModel, site: Site) -> int:
    """Return the number of units that a cut model has in a site of the model before the cut."""
    if site.neurons is not None:
        path, axis = site.neurons.read
        return model.get_parameter(path).shape[1 + axis]
    if site.routing is not None:
        return len(model.get_parameter(site.routing.parameters[0]))
    return int(linear(model, site.reader).weight.shape[1]) // site.size


def _added_biases(stock: PreTrainedModel, model: PreTrainedModel) -> list[str]:
    without = {path for path, module in stock.named_modules() if _has_bias(module) is False}
    return [path for path, module in model.named_modules() if path in without and _has_bias(module)]


def _has_bias(module: nn.Module) -> bool | None:
    return module.bias is not None if isinstance(module, nn.Linear | Conv1D) else None


def within_base(model: PreTrainedModel, path: str) -> str:
    """Return a path relative to the base model, where the module lies in it; the same for all heads of a model."""
    return path if model.base_model is model else path.removeprefix(model.base_model_prefix + ".")
