"""Surgery: cuts a model along a plan. One generic cut serves every family."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import VOCABULARY, Plan, carry_plan, plan_of
from infoprune.ranking.eliminate import compensate
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.embeddings import count_rows, cut_tokens, replace_parameter
from infoprune.structure.linear import LinearMap, linear, upright
from infoprune.structure.narrow import narrow_layers, steps_between
from infoprune.structure.offload import bring_home, hollow, is_offloaded, present
from infoprune.structure.silent import Silent
from infoprune.structure.site import Site, Size
from infoprune.structure.sites import every_site, layer_entries, sites_by_name
from infoprune.structure.slices import unit_coordinates
from infoprune.structure.stand_ins import keep_rows, read_rows, rows_of_tokens, why_not
from infoprune.structure.stock import fields_of
from infoprune.structure.stream import Stream


def prune(model: PreTrainedModel, plan: Plan, statistics: Statistics | None = None) -> PreTrainedModel:
    """A smaller, dense copy of the model that holds only the units a plan keeps; the model itself is untouched.

    The copy carries the plan, counted from the first dense model, so that `save` can write it.

    Args:
        model: the model that the plan was made for. Where accelerate has offloaded its weights, those of the copy lie
            in main memory.
        plan: what stays. Where tokens go and nothing stands in for them, the tokenizer has to change with the model:
            see `prune_vocabulary`.
        statistics: of this model. If given, every reader takes over what the lost units said, as far as the kept ones
            know it: W' = W C_:S C_SS^-1, and the means go into the bias. If not, the readers are only sliced.

    Raises:
        InputError: the plan names sites that the model does not have, or other numbers of units; or the statistics
            are not of this model.
    """
    sites = sites_by_name(model)
    _check_fit(model, sites, plan)
    small = bring_home(copy.deepcopy(model))
    for name, kept in plan.kept.items():
        if len(kept) == plan.units[name]:
            continue
        if name == VOCABULARY:
            _cut_vocabulary(small, plan)
            continue
        found = () if statistics is None else tuple(_checked(statistics, each, model) for each in sites[name].measured)
        chosen = torch.tensor(kept, dtype=torch.long)
        readers = _compensated(small, sites[name], found, chosen)
        cut_site(small, sites[name], chosen)
        for path, (weight, lost) in readers.items():
            _rewrite(linear(small, path), weight, lost)
    narrow_layers(small, layer_entries(small), plan.kept, plan.units)
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
    sites = {name: site for name, site in sites_by_name(small).items() if name in counts}
    kept = {name: torch.arange(min(counts[name], site.units)) for name, site in sites.items()}
    for name, site in sites.items():
        cut_site(small, site, kept[name])
    units = {name: site.units for name, site in sites.items()}
    narrow_layers(small, layer_entries(small), {name: each.tolist() for name, each in kept.items()}, units)
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
    tied = () if site.residual is None else site.residual.tied
    for path in site.readers:
        if path not in tied:
            linear(model, path).keep_inputs(unit_coordinates(kept, site.size))
    if site.residual is not None:
        _cut_tables(model, site.residual, kept)
    if len(kept) == 0:
        _silence(model, site)
        return
    for attribute in site.attributes:
        _write(model, attribute, len(kept))


def _cut_tables(model: nn.Module, stream: Stream, kept: Int[Tensor, " k"]) -> None:
    """Keeps some coordinates of the vectors that are parameters, and of all that share them, in place."""
    modules = {path: model.get_submodule(path) for path in stream.tables}
    axes = {
        id(parameter): (parameter, 0 if isinstance(module, nn.Conv2d) else -1)
        for module in modules.values()
        for parameter in module.parameters(recurse=False)
    }
    for old, axis in axes.values():
        cut = old.detach().index_select(axis, kept.to(old.device)).contiguous()
        replace_parameter(model, old, nn.Parameter(cut, requires_grad=old.requires_grad))
    for module in modules.values():
        if isinstance(module, nn.Embedding):
            module.embedding_dim = len(kept)
        elif isinstance(module, nn.LayerNorm):
            module.normalized_shape = (len(kept),)
        elif isinstance(module, nn.Conv2d):
            module.out_channels = len(kept)
    for path in stream.tied:
        reader = model.get_submodule(path)
        if isinstance(reader, nn.Linear):
            reader.in_features = len(kept)


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


def _cut_vocabulary(model: PreTrainedModel, plan: Plan) -> None:
    if plan.rows is None:
        cut_tokens(model, plan.kept[VOCABULARY])
        return
    reason = why_not(model)
    if reason is not None:
        raise InputError(
            f"the plan lets kept tokens stand in for dropped ones, which this {type(model).__name__} cannot have: "
            f"{reason}; drop them from the tokenizer (--dropped-tokens pieces)"
        )
    rows = torch.tensor(plan.rows)[rows_of_tokens(model)]
    keep_rows(model, plan.kept[VOCABULARY], plan.rows)
    read_rows(model, rows)


def _check_fit(model: PreTrainedModel, sites: dict[str, Site], plan: Plan) -> None:
    if plan.model_type != model.config.model_type:
        raise InputError(
            f"the plan is for model type {plan.model_type!r}, the model is {model.config.model_type!r}; "
            "use the model that the plan was made for"
        )
    there_are = {name: site.units for name, site in sites.items()} | {VOCABULARY: count_rows(model)}
    for name, units in plan.units.items():
        if there_are.get(name) != units:
            there = f"has {there_are[name]}" if name in there_are else "does not exist"
            raise InputError(
                f"the plan counts {units} units in {name}, which {there} in this model; "
                "use the model that the plan was made for"
            )
    steps_between(layer_entries(model), plan.kept, plan.units)


def _checked(statistics: Statistics, site: Site, model: nn.Module) -> SiteStatistics:
    """The statistics of a site, or of a place of the residual stream, if they are of this model."""
    found = statistics.sites.get(site.name)
    with present(model, site.reader):
        reader = exact(linear(model, site.reader).weight)
    known = site.streams or (found is not None and torch.equal(found.reader.to(reader.device), reader))
    if found is None or found.site != site or not known:
        raise InputError(
            f"the statistics are not of {site.name} with {site.units} units and the weights of this model; "
            "pass those that collect gave of this very model, or none"
        )
    return found


def _compensated(
    model: nn.Module, site: Site, measured: Sequence[SiteStatistics], kept: Int[Tensor, " k"]
) -> dict[str, tuple[Float[Tensor, "_ _"], Float[Tensor, " _"]]]:
    """What the readers of a site become, and what they lose of their mean, by path.

    A reader that is tied to a table stays as it is. All have the rows that they have by now: another cut may have taken
    some.
    """
    found = {}
    tied = () if site.residual is None else site.residual.tied
    for place in measured:
        mean, covariance = place.moments.mean, place.covariance
        coordinates = unit_coordinates(kept, site.size).to(mean.device)
        for path in (place.site.reader,) if site.residual is None else place.site.readers:
            if path not in tied:
                reader = exact(linear(model, path).weight).to(mean.device)
                weight = compensate(covariance, reader, coordinates)
                found[path] = weight, reader @ mean - weight @ mean[coordinates]
    return found


def _rewrite(reader: LinearMap, weight: Float[Tensor, "_ _"], lost: Float[Tensor, " _"]) -> None:
    reader.weight.copy_(weight)
    if reader.bias is not None:
        reader.bias.add_(lost.to(reader.bias.dtype).to(reader.bias.device))


def _update_config(model: PreTrainedModel) -> None:
    """Writes the new sizes into the config where it has words for them and they are the same in every layer."""
    for name, value in fields_of(every_site(model, empty=True), {}).items():
        setattr(model.config, name, value)
