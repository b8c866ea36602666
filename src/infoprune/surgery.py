"""Surgery: cut a model along a plan, with one generic cut for every family."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.kept_neurons import experts_beside
from infoprune.loading.record import record_sizes
from infoprune.plan import VOCABULARY, Plan, carry_plan, plan_of
from infoprune.ranking.eliminate import compensate
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.cut import cut_site
from infoprune.structure.embeddings import count_rows, cut_tokens
from infoprune.structure.experts import expert_reader
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.narrow import narrow_layers, steps_between
from infoprune.structure.offload import is_offloaded, load_into_memory, present, shape_only_copy
from infoprune.structure.site import Site
from infoprune.structure.sites import layer_entries, sites_by_name
from infoprune.structure.slices import unit_coordinates
from infoprune.structure.token_remapping import keep_rows, read_rows, rows_of_tokens, why_not


@in_ordinary_mode
def apply_plan(model: PreTrainedModel, plan: Plan, statistics: Statistics | None = None) -> PreTrainedModel:
    """Return a smaller, dense copy of a model with only the units that a plan keeps; the model is not changed.

    The copy carries the plan, counted from the first dense model, so that `save` can write it; its config has the new
    sizes, so that every way of saving it keeps them.

    Args:
        model: The model that the plan was made for. Where accelerate has offloaded its weights, the copy's weights are
            in main memory.
        plan: The units that stay. Where it renumbers tokens, the tokenizer has to change with the model: see
            `prune_vocabulary`.
        statistics: Statistics of this model. With them the cut compensates every reader by least squares from the kept
            units, W' = W C_:S C_SS^-1, with the means in the bias. Without them the readers are only sliced.

    Returns:
        The smaller model.

    Raises:
        InputError: The plan names sites that the model does not have, or other numbers of units; or the statistics
            are not of this model.

    Examples:
        >>> statistics = collect(model, batches)
        >>> plan = allocate(rank(statistics, ChannelInformation()), Keep(0.5))
        >>> small = apply_plan(model, plan, statistics)
        >>> small.num_parameters() < model.num_parameters()
        True
    """
    sites = sites_by_name(model)
    _check_fit(model, sites, plan)
    # the weights that are cut are not copied whole first
    cut = [site for name, site in sites.items() if len(plan.kept.get(name, ())) < plan.units.get(name, 0)]
    names = {name for site in cut if not site.streams for name in site.cut_parameters}
    borrowed = {id(weight): weight for weight in map(model.get_parameter, names)}
    small = load_into_memory(copy.deepcopy(model, {} if is_offloaded(model) else dict(borrowed)))
    # experts before their neurons, of which the plan names those of the experts that stay
    for name in sorted(plan.kept, key=[VOCABULARY, *sites].index):
        kept = plan.kept[name]
        if len(kept) == plan.units[name]:
            continue
        if name == VOCABULARY:
            _cut_vocabulary(small, plan)
            continue
        if sites[name].neurons is not None:
            _cut_neurons(small, sites[name], plan, statistics, model)
            continue
        found: tuple[SiteStatistics, ...] = ()
        if statistics is not None and sites[name].routing is None:
            found = tuple(_checked(statistics, each, model) for each in sites[name].measured)
        chosen = torch.tensor(kept, dtype=torch.long)
        readers = _compensated(small, sites[name], found, chosen)
        cut_site(small, sites[name], chosen)
        for path, (weight, lost) in readers.items():
            _rewrite(linear(small, path), weight, lost)
    if any(id(parameter) in borrowed for parameter in small.parameters()):
        raise RuntimeError("a weight of the dense model is left in the smaller one; please report this as a bug")
    narrow_layers(small, layer_entries(small), plan.kept, plan.units)
    before = plan_of(model)
    carry_plan(small, plan if before is None else before.then(plan))
    record_sizes(small)
    return small


def outline(model: PreTrainedModel, counts: Mapping[str, int]) -> PreTrainedModel:
    """Return a copy with given numbers of units, whichever they are, to count and to time.

    The copy shares all tensors that are not cut. The copy of a model with offloaded weights has no values.

    Args:
        model: The model.
        counts: Number of units by site name; other sites stay whole.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    small = shape_only_copy(model) if is_offloaded(model) else copy.deepcopy(model, shared)
    sites = {name: site for name, site in sites_by_name(small).items() if name in counts}
    kept = {name: torch.arange(min(counts[name], site.units)) for name, site in sites.items()}
    for name, site in sites.items():
        cut_site(small, site, kept[name])
    units = {name: site.units for name, site in sites.items()}
    narrow_layers(small, layer_entries(small), {name: each.tolist() for name, each in kept.items()}, units)
    return small


def _cut_vocabulary(model: PreTrainedModel, plan: Plan) -> None:
    if plan.rows is None:
        cut_tokens(model, plan.kept[VOCABULARY])
        return
    reason = why_not(model)
    if reason is not None:
        raise InputError(
            f"the plan remaps removed tokens to kept ones, which this {type(model).__name__} does not support: "
            f"{reason}; pass `dropped_tokens=pieces`"
        )
    rows = torch.tensor(plan.rows)[rows_of_tokens(model)]
    keep_rows(model, plan.kept[VOCABULARY], plan.rows)
    read_rows(model, rows)


def _cut_neurons(
    small: PreTrainedModel, site: Site, plan: Plan, statistics: Statistics | None, model: PreTrainedModel
) -> None:
    """Keep some neurons of every expert that is left, and compensate the weights that read them."""
    count = site.neurons.experts if site.neurons is not None else 0
    experts = plan.kept.get(experts_beside(site.name), range(count))
    rows = plan.neurons_left(site.name, count)
    if len(rows) != len(experts):
        raise InputError(
            f"the plan has the neurons of {len(rows)} experts in {site.name}, expected those of {len(experts)}; use "
            "the model that the plan was made for"
        )
    weights = []
    if statistics is not None:
        for expert, row in zip(experts, rows, strict=True):
            found = _checked(statistics, site.measured[expert], model)
            kept = torch.tensor(row, device=found.reader.device)
            weights.append(compensate(found.covariance, found.reader, kept))
    cut_site(small, site, torch.tensor(plan.kept[site.name]), torch.tensor(rows))
    for index, weight in enumerate(weights):
        expert_reader(small, site, index).copy_(weight)


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
    """Return the statistics of a site or read point; raise InputError where they are not of this model."""
    found = statistics.sites.get(site.name)
    with present(model, site.reader):
        weight = linear(model, site.reader).weight if site.expert is None else expert_reader(model, site, site.expert)
        reader = exact(weight)
    known = site.streams or (found is not None and torch.equal(found.reader.to(reader.device), reader))
    if found is None or found.site != site or not known:
        raise InputError(
            f"the statistics are not of {site.name} with {site.units} units and the weights of this model; "
            "pass the statistics that `collect` returned for this model, or none"
        )
    return found


def _compensated(
    model: nn.Module, site: Site, measured: Sequence[SiteStatistics], kept: Int[Tensor, " k"]
) -> dict[str, tuple[Float[Tensor, "_ _"], Float[Tensor, " _"]]]:
    """Return, by path, the compensated weights of a site's readers, and the mean output that they lose.

    A reader that is tied to a table is left out. The weights have the rows that other cuts have left.
    """
    found = {}
    tied = () if site.residual is None else site.residual.tied
    for point in measured:
        mean, covariance = point.moments.mean, point.covariance
        coordinates = unit_coordinates(kept, site.size).to(mean.device)
        for path in (point.site.reader,) if site.residual is None else point.site.readers:
            if path not in tied:
                reader = exact(linear(model, path).weight).to(mean.device)
                weight = compensate(covariance, reader, coordinates)
                found[path] = weight, reader @ mean - weight @ mean[coordinates]
    return found


def _rewrite(reader: LinearMap, weight: Float[Tensor, "_ _"], lost: Float[Tensor, " _"]) -> None:
    reader.weight.copy_(weight)
    if reader.bias is not None:
        reader.bias.add_(lost.to(reader.bias.dtype).to(reader.bias.device))
