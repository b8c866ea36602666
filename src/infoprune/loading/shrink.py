"""Shrink: give a model of stock sizes those of its config, before its weights are read."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.loading.sizes import Sizes
from infoprune.plan import HIDDEN_SIZE_PER_LAYER, VOCABULARY
from infoprune.structure.cut import cut_site
from infoprune.structure.embeddings import ROWS, count_rows
from infoprune.structure.linear import linear
from infoprune.structure.narrow import COORDINATES, is_narrowed, narrow
from infoprune.structure.position_bias import BIAS_HEADS
from infoprune.structure.sites import family_named, find_sites, layer_entries, sites_by_name
from infoprune.structure.token_remapping import follow_padding, keep_rows, read_rows, why_not


def shrink(model: PreTrainedModel, sizes: Sizes) -> None:
    """Keep the first units of every site, as many as there are in the weights, in place.

    Sites that this class does not have, such as those of a decoder of which only the encoder is opened, are left out.

    Args:
        model: Model as its class builds it, with or without values.
        sizes: Sizes in its config.

    Raises:
        InputError: A site has fewer units than it should keep.
    """
    with torch.device("cpu"):  # transformers builds models under the meta device, where indices would have no values
        sites = sites_by_name(model, bare=True)
        for name, units in sizes.units.items():
            if name == VOCABULARY:
                _shrink_table(model, units)
            elif name in sites:
                check_units(name, units, sites[name].units)
                if units < sites[name].units:
                    cut_site(model, sites[name], torch.arange(units))
            else:
                _shrink_producers(model, name, units)
        layered = {name: site.units for name, site in sites.items() if site.structure == HIDDEN_SIZE_PER_LAYER}
        if layered.keys() & sizes.units.keys():
            _narrow(model, sizes, max(layered.values()))
        _add_biases(model, sizes)


def check_units(name: str, units: int, of: int) -> None:
    """Raise InputError where a site should keep more units than the config gives it."""
    if units > of:
        raise InputError(
            f"config.json keeps {units} units of {name}, but its other fields imply {of}; the file is damaged: "
            "restore it, or prune again"
        )


def set_indices(model: PreTrainedModel, sizes: Sizes) -> None:
    """Write the index buffers that a config has, where the weights lack them, and check all of them.

    Args:
        model: Model with its weights.
        sizes: Sizes in its config.

    Raises:
        InputError: An index does not fit the model: its file is damaged.
    """
    for name, values in sizes.indices.items():
        path, _, own = name.rpartition(".")
        dtype = torch.int32 if own == ROWS else torch.long
        device = model.get_buffer(name).device
        model.get_submodule(path).register_buffer(own, torch.tensor(values, dtype=dtype, device=device))
    limits = _limits(model, sizes)
    for name, index in model.named_buffers():
        own = name.rpartition(".")[2]
        if index.is_meta or own not in (ROWS, COORDINATES, BIAS_HEADS):
            continue
        inside = bool((index >= 0).all()) and int(index.max()) < limits.get(name, count_rows(model))
        if not inside or (own != ROWS and bool((index.diff() <= 0).any())):
            raise InputError(
                f"{name} in the weights has indices that do not fit the model; the file is damaged: download it again, "
                "or prune again"
            )
    if VOCABULARY in sizes.units and not model.get_input_embeddings().weight.is_meta:
        follow_padding(model)


def _limits(model: PreTrainedModel, sizes: Sizes) -> dict[str, int]:
    """Return by name of an index buffer how many coordinates the layer below has, or columns a shared bias."""
    biases = [site.bias for site in find_sites(model) if site.bias is not None]
    limits = {f"{bias.module}.{BIAS_HEADS}": bias.columns for bias in biases}
    if not is_narrowed(model):
        return limits
    below = int(model.config.hidden_size)
    for name, path in layer_entries(model).items():
        limits[f"{path}.{COORDINATES}"] = below
        below = sizes.units.get(name, below)
    return limits


def _shrink_table(model: PreTrainedModel, rows: int) -> None:
    """Keep the first rows of the embedding table; which token reads which is filled in with the weights."""
    tokens = count_rows(model)
    check_units(VOCABULARY, rows, tokens)
    reason = why_not(model)
    if reason is not None:
        raise InputError(
            f"config.json remaps tokens, which this {type(model).__name__} does not support: {reason}; "
            "open it with the class that it was saved from"
        )
    index = torch.arange(tokens) % max(rows, 1)
    keep_rows(model, range(rows), index.tolist())
    read_rows(model, index)


def _shrink_producers(model: PreTrainedModel, name: str, units: int) -> None:
    """Keep the first output rows of modules above the layers whose reader this class does not have, as in BertModel."""
    family = family_named(model.config.model_type)
    prefix = model.base_model_prefix + "."
    for row in family.top:
        paths = [rows.module for rows in row.producers] if name == f"top.{row.structure}" else []
        for path in (each.removeprefix(prefix) if model.base_model is model else each for each in paths):
            if isinstance(dict(model.named_modules()).get(path), nn.Linear):
                linear(model, path).keep_outputs(torch.arange(units))


def _narrow(model: PreTrainedModel, sizes: Sizes, hidden_size: int) -> None:
    """Prepare the layers that keep a subset of the coordinates of the layer below."""
    below = None
    for name, path in layer_entries(model).items():
        here = sizes.units.get(name, hidden_size)
        if below is not None and here < below:
            layer = model.get_submodule(path)
            narrow(layer, torch.arange(here, device=next(layer.parameters()).device))
        below = here


def _add_biases(model: PreTrainedModel, sizes: Sizes) -> None:
    for path in sizes.biases:
        module = find_module(model, path)
        if isinstance(module, nn.Linear) and module.bias is None:
            module.bias = nn.Parameter(module.weight.detach().new_zeros(module.out_features))


def find_module(model: PreTrainedModel, path: str) -> nn.Module | None:
    """Return the module at a path as in `Sizes.biases`; None where this class does not have it."""
    modules = dict(model.named_modules())
    return modules.get(path) or modules.get(f"{model.base_model_prefix}.{path}")
