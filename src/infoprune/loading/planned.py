"""Planned: what plan.json says of a model's sizes, beside its config."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.loading.record import units_in
from infoprune.loading.shrink import shrink
from infoprune.loading.sizes import Sizes
from infoprune.plan import VOCABULARY, Plan
from infoprune.structure.embeddings import ROWS, count_rows, count_tokens, is_remapped
from infoprune.structure.linear import is_linear
from infoprune.structure.narrow import COORDINATES, steps_between
from infoprune.structure.position_bias import BIAS_HEADS
from infoprune.structure.sites import find_sites, layer_entries, sites_by_name
from infoprune.structure.token_remapping import table_paths


def sizes_of_plan(plan: Plan, stock: PreTrainedModel, weights: Iterable[str]) -> Sizes | None:
    """Return the sizes of a model whose config has none, as release 0.1 wrote it; None where its class has them.

    Args:
        plan: Plan beside the config.
        stock: Model as its class builds it from the config, on the meta device.
        weights: Names of the weights in the folder.
    """
    sites = sites_by_name(stock, bare=True)
    units = {name: kept for name, (kept, _) in plan.counts.items() if name in sites and sites[name].units != kept}
    indices = indices_of(plan, stock)
    if plan.rows is not None:
        units[VOCABULARY] = len(plan.kept[VOCABULARY])
    written = [f".{name}" for name in weights]  # with a prefix that a model without its head lacks
    biases = [
        path
        for path in dict.fromkeys(path for site in sites.values() for path in site.readers)
        if is_linear(stock, path)
        and stock.get_submodule(path).bias is None
        and any(name.endswith(f".{path}.bias") for name in written)
    ]
    return Sizes(units, tuple(biases), indices) or None


def check_plan(plan: Plan, stock: PreTrainedModel, sizes: Sizes | None, *, headless: bool = False) -> None:
    """Raise InputError where a plan keeps other numbers of units than the config beside it.

    A table that has grown since is no contradiction: tokens may be added to a pruned model.

    Args:
        plan: Plan beside the config.
        stock: Model as its class builds it from the config, on the meta device.
        sizes: Sizes in the config.
        headless: Whether the head was left out, with the sites above the layers.
    """
    if plan.model_type != stock.config.model_type:
        raise InputError(f"the plan is for a {plan.model_type}, the config for a {stock.config.model_type}")
    small = copy.deepcopy(stock)
    if sizes is not None:
        shrink(small, sizes)
    steps_between(layer_entries(stock), plan.kept, plan.units)
    sites, counts = sites_by_name(stock, bare=True), dict(plan.counts)
    kept, of = counts.pop(VOCABULARY, (0, 0))
    remapped = is_remapped(small)
    if remapped != (plan.rows is not None) or count_rows(small) < kept or (remapped and count_tokens(small) < of):
        tokens = f"{kept} rows for {of} tokens" if plan.rows is not None else f"{kept} tokens"
        rows = f"{count_rows(small)} rows for {count_tokens(small)} tokens" if remapped else f"{count_rows(small)}"
        raise InputError(f"the plan keeps {tokens}, the config has {rows}")
    for name, (units, _) in counts.items():
        if name not in sites and not (headless and name.startswith("top.")):
            raise InputError(f"the plan keeps {units} units of {name}, which the config does not have")
        there = units if name not in sites else units_in(small, sites[name])
        if there != units:
            raise InputError(f"the plan keeps {units} units of {name}, the config has {there}")


def check_indices(plan: Plan, model: PreTrainedModel) -> None:
    """Raise InputError where a plan names other tokens, coordinates or heads than the index buffers in the weights.

    Args:
        plan: Plan beside the config.
        model: Model with its weights.
    """
    expected = indices_of(plan, model)
    for name, index in model.named_buffers():
        # tokens may have been added since
        if name in expected and index[: len(expected[name])].tolist() != list(expected[name]):
            raise InputError(f"the plan has other indices than {name} in the weights")


def indices_of(plan: Plan, model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Return the values of the index buffers of a model by name, as a plan has them."""
    steps = steps_between(layer_entries(model), plan.kept, plan.units)
    indices = {f"{path}.{COORDINATES}": coordinates for path, coordinates in steps.items()}
    for site in find_sites(model):
        kept = plan.kept.get(site.name, ())
        if site.bias is not None and site.bias.columns > 0 and 0 < len(kept) < plan.units[site.name]:
            indices[f"{site.bias.module}.{BIAS_HEADS}"] = kept
    if plan.rows is not None:
        indices |= {f"{path}.{ROWS}": plan.rows for path in table_paths(model)}
    return indices
