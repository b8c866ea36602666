"""Weights: the linear maps of the layers, of which a method keeps a share, and the weights of a unit."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites


def maskable_sites(model: PreTrainedModel) -> tuple[Site, ...]:
    """Return the sites in the layers.

    Raises:
        InputError: The model has experts, whose weights are no linear modules.
    """
    sites = find_sites(model)
    if any(site.routing is not None for site in sites):
        raise InputError(
            f"this {model.config.model_type} has experts, which cannot be masked in training, expected a model without "
            "them; use infoprune.prune"
        )
    return sites


def layer_maps(model: PreTrainedModel) -> dict[str, LinearMap]:
    """Return, by path, the layers' linear maps that write or read units: in BERT Q, K, V, O, up and down."""
    sites = maskable_sites(model)
    paths = [path for site in sites for path in (*(rows.module for rows in site.producers), *site.readers)]
    return {path: linear(model, path) for path in dict.fromkeys(paths)}


def unit_weights(model: PreTrainedModel, site: Site) -> int:
    """Return how many weights of the layers' linear maps belong to one unit of a site."""
    written = sum(sum(rows.rows_per_unit) * linear(model, rows.module).weight.shape[1] for rows in site.producers)
    return written + sum(site.size * linear(model, path).weight.shape[0] for path in site.readers)


def weights_of_all(model: PreTrainedModel, site: Site) -> int:
    """Return how many weights of the layers' linear maps belong to all units of a site together."""
    return sum(rows.shared * linear(model, rows.module).weight.shape[1] for rows in site.producers)


def share_left(small: PreTrainedModel, dense: PreTrainedModel) -> float:
    """Return the share of the dense model's weights in the layers' linear maps that is left and not zero."""
    there = sum(int(each.weight.count_nonzero()) for each in layer_maps(small).values())
    return there / sum(each.weight.numel() for each in layer_maps(dense).values())


def trainable(module: nn.Module) -> nn.Parameter:
    """Return the weight that is trained, also under a parametrization."""
    named = "parametrizations.weight.original" if parametrize.is_parametrized(module, "weight") else "weight"
    return module.get_parameter(named)


def fold(modules: Sequence[nn.Module]) -> None:
    """Replace weights and their parametrizations by the resulting values."""
    for module in modules:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
