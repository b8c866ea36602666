"""Surgery: cuts a model along a plan. One generic cut serves every family."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import VOCABULARY, Plan, carry_plan, plan_of
from infoprune.ranking.eliminate import compensate
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.embeddings import count_tokens, cut_tokens
from infoprune.structure.linear import linear, upright
from infoprune.structure.offload import bring_home, hollow, is_offloaded, present
from infoprune.structure.silent import Silent
from infoprune.structure.sites import Site, Size, alike, find_sites
from infoprune.structure.slices import unit_coordinates


def prune(model: PreTrainedModel, plan: Plan, statistics: Statistics | None = None) -> PreTrainedModel:
    """A smaller, dense copy of the model that holds only the units a plan keeps; the model itself is untouched.

    The copy carries the plan, counted from the first dense model, so that `save` can write it.

    Args:
        model: the model that the plan was made for. Where accelerate has offloaded its weights, those of the copy lie
            in main memory.
        plan: what stays. Where tokens go, the tokenizer has to change with the model: see `prune_vocabulary`.
        statistics: of this model. If given, every reader takes over what the lost units said, as far as the kept ones
            know it: W' = W C_:S C_SS^-1, and the means go into the bias. If not, the readers are only sliced.

    Raises:
        InputError: the plan names sites that the model does not have, or other numbers of units; or the statistics
            are not of this model.
    """
    sites = {site.name: site for site in find_sites(model)}
    _check_fit(model, sites, plan)
    small = bring_home(copy.deepcopy(model))
    for name, kept in plan.kept.items():
        if len(kept) == plan.units[name]:
            continue
        if name == VOCABULARY:
            cut_tokens(small, kept)
            continue
        units = torch.tensor(kept, dtype=torch.long)
        found = None if statistics is None else _checked(statistics, sites[name], model)
        cut_site(small, sites[name], units)
        if found is not None:
            _compensate(small, found, units)
    _update_config(small)
    before = plan_of(model)
    carry_plan(small, plan if before is None else before.then(plan))
    return small


def outline(model: PreTrainedModel, counts: Mapping[str, int]) -> PreTrainedModel:
    """A copy with so many units, whichever they are, to count and to time; it shares all tensors that are not cut.

    That of a model with offloaded weights has no values.

    Args:
        model: that is copied.
        counts: units by site name; sites that are not named stay whole.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    small = hollow(model) if is_offloaded(model) else copy.deepcopy(model, shared)
    for site in find_sites(small):
        if site.name in counts:
            cut_site(small, site, torch.arange(min(counts[site.name], site.units)))
    return small


def cut_site(model: nn.Module, site: Site, kept: Int[Tensor, " k"]) -> None:
    """Keeps some units of one site, in place; an attention without heads is left out.

    Raises:
        InputError: none is kept of a site that cannot do without.
    """
    if len(kept) < site.least:
        raise InputError(
            f"the plan keeps none of the {site.units} units of {site.name}, expected at least one: "
            "this family's layers cannot do without; keep one"
        )
    for producer in site.producers:
        linear(model, producer.module).keep_outputs(producer.rows(kept, site.units))
    for path in site.readers:
        linear(model, path).keep_inputs(unit_coordinates(kept, site.size))
    if len(kept) == 0:
        _silence(model, site)
        return
    for attribute in site.attributes:
        _write(model, attribute, len(kept))


def _silence(model: nn.Module, site: Site) -> None:
    """Makes a block run without units."""
    for path in site.readers:
        upright(model, path)
    if site.attention is None:
        return
    inside = f"{site.attention}."
    linears = [path for path in (*(rows.module for rows in site.producers), *site.readers) if path.startswith(inside)]
    source = site.stream if site.stream in linears else linears[0]
    silent = Silent(
        model.get_submodule(site.attention),
        [path.removeprefix(inside) for path in linears],
        source.removeprefix(inside),
        site.reader.removeprefix(inside) if site.reader in linears else None,
        remembers=site.kind == "heads",
    )
    model.set_submodule(site.attention, silent)


def _write(model: nn.Module, attribute: Size, units: int) -> None:
    """Writes a size into a module; a field of its config into a copy of its own, since layers may differ."""
    module = model.get_submodule(attribute.module or "")
    place, _, name = attribute.name.rpartition(".")
    if place:
        setattr(module, place, copy.copy(getattr(module, place)))
    setattr(getattr(module, place) if place else module, name, attribute.of(units))


def _check_fit(model: PreTrainedModel, sites: dict[str, Site], plan: Plan) -> None:
    if plan.model_type != model.config.model_type:
        raise InputError(
            f"the plan is for model type {plan.model_type!r}, the model is {model.config.model_type!r}; "
            "use the model that the plan was made for"
        )
    there_are = {name: site.units for name, site in sites.items()} | {VOCABULARY: count_tokens(model)}
    for name, units in plan.units.items():
        if there_are.get(name) != units:
            there = f"has {there_are[name]}" if name in there_are else "does not exist"
            raise InputError(
                f"the plan counts {units} units in {name}, which {there} in this model; "
                "use the model that the plan was made for"
            )


def _checked(statistics: Statistics, site: Site, model: nn.Module) -> SiteStatistics:
    """The statistics of a site, if they are of this model."""
    found = statistics.sites.get(site.name)
    with present(model, site.reader):
        reader = exact(linear(model, site.reader).weight)
    if found is None or found.site != site or not torch.equal(found.reader.to(reader.device), reader):
        raise InputError(
            f"the statistics are not of {site.name} with {site.units} units and the weights of this model; "
            "pass those that collect gave of this very model, or none"
        )
    return found


def _compensate(model: nn.Module, statistics: SiteStatistics, kept: Int[Tensor, " k"]) -> None:
    reader = linear(model, statistics.site.reader)
    mean = statistics.moments.mean
    coordinates = unit_coordinates(kept, statistics.site.size).to(mean.device)
    weight = compensate(statistics.covariance, statistics.reader, coordinates)
    reader.weight.copy_(weight)
    if reader.bias is not None:
        lost = statistics.reader @ mean - weight @ mean[coordinates]
        reader.bias.add_(lost.to(reader.bias.dtype).to(reader.bias.device))


def _update_config(model: PreTrainedModel) -> None:
    """Writes the new sizes into the config where it has words for them and they are the same in every layer."""
    for same in alike(find_sites(model)):
        units = same[0].units
        if same[0].stock(units) and all(site.units == units for site in same):
            for field in same[0].config:
                setattr(model.config, field.name, field.of(units))
