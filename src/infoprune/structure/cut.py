"""Cut: keep some units of one site of a model, with one generic cut for every family."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Int
from torch import Tensor, nn

from infoprune.errors import InputError
from infoprune.structure.embeddings import replace_parameter
from infoprune.structure.headless_attention import HeadlessAttention
from infoprune.structure.linear import linear, untranspose
from infoprune.structure.position_bias import keep_bias_heads
from infoprune.structure.site import Site, Size
from infoprune.structure.slices import Slice, unit_coordinates
from infoprune.structure.stream import Stream


def cut_site(
    model: nn.Module, site: Site, kept: Int[Tensor, " k"], neurons: Int[Tensor, "experts k"] | None = None
) -> None:
    """Keep some units of one site, in place; an attention without heads is removed.

    Args:
        model: The model, which is changed.
        site: The site.
        kept: Numbers of the kept units, ascending.
        neurons: For neurons inside experts, the kept ones of each expert that the model has; None where they are the
            same.

    Raises:
        InputError: No unit is kept of a site that needs one.
    """
    if len(kept) < site.least:
        raise InputError(
            f"the plan keeps none of the {site.units} units of {site.name}, expected at least one: "
            "this family's layers need it; keep one"
        )
    if site.bias is not None and len(kept) < site.units:
        keep_bias_heads(model, site.bias, kept)
    for producer in site.producers:
        linear(model, producer.module).keep_outputs(producer.rows(kept, site.units))
    for name in site.vectors:
        _keep_entries(model, name, kept, site.units)
    if site.routing is None:
        _keep_inputs(model, site, kept)
    else:
        _cut_experts(model, site, kept, neurons)
    if site.residual is not None:
        _cut_tables(model, site.residual, kept)
    if len(kept) == 0:
        _silence(model, site)
        return
    for attribute in site.attributes:
        _write(model, attribute, len(kept))


def _keep_entries(model: nn.Module, name: str, kept: Int[Tensor, " k"], units: int) -> None:
    """Keep the entries of some units in a parameter, along its first axis, in place."""
    old = model.get_parameter(name)
    entries = unit_coordinates(kept, len(old) // units).to(old.device)
    cut = old.detach().index_select(0, entries).contiguous()
    replace_parameter(model, old, nn.Parameter(cut, requires_grad=old.requires_grad))


def _cut_experts(
    model: nn.Module, site: Site, kept: Int[Tensor, " k"], neurons: Int[Tensor, "experts k"] | None
) -> None:
    """Keep some experts, or some neurons of every expert, in place."""
    if site.neurons is not None:
        for rows, axis in site.neurons.entries:
            _keep_neurons(model, rows, axis, kept[None] if neurons is None else neurons, site.units)
    else:
        for name in site.routing.parameters if site.routing is not None else ():
            _keep_entries(model, name, kept, site.units)


def _keep_neurons(model: nn.Module, rows: Slice, axis: int, kept: Int[Tensor, "experts k"], units: int) -> None:
    """Keep some neurons of every expert in a parameter of all experts, in place; one row of numbers serves all."""
    old = model.get_parameter(rows.module)
    index = torch.stack([rows.rows(each, units) for each in kept]).to(old.device)
    shape = [len(index), *(index.shape[1] if at == axis else 1 for at in range(old.ndim - 1))]
    cut = torch.take_along_dim(old.detach(), index.reshape(shape), 1 + axis).contiguous()
    replace_parameter(model, old, nn.Parameter(cut, requires_grad=old.requires_grad))


def _keep_inputs(model: nn.Module, site: Site, kept: Int[Tensor, " k"]) -> None:
    """Keep the columns of some units in the readers that are not tied to a table, in place."""
    tied = () if site.residual is None else site.residual.tied
    for path in site.readers:
        if path not in tied:
            linear(model, path).keep_inputs(unit_coordinates(kept, site.size))


def _cut_tables(model: nn.Module, stream: Stream, kept: Int[Tensor, " k"]) -> None:
    """Keep some coordinates of embeddings, norms and patch filters, and of modules that share them, in place."""
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
    """Change a block so that it runs without units."""
    for path in site.readers:
        untranspose(model, path)
    if site.attention is None:
        return
    inside = f"{site.attention}."
    linears = [path for path in (*(rows.module for rows in site.producers), *site.readers) if path.startswith(inside)]
    source = site.stream if site.stream in linears else linears[0]
    table = None if site.bias is None else site.bias.table
    shared = [table] if table is not None and table.startswith(inside) else []  # which other layers read
    replacement = HeadlessAttention(
        model.get_submodule(site.attention),
        [path.removeprefix(inside) for path in (*linears, *shared)],
        source.removeprefix(inside),
        site.reader.removeprefix(inside) if site.reader in linears else None,
        fills_cache=site.structure == "heads",
        passes_bias=site.bias is not None and bool(site.bias.receivers),
    )
    model.set_submodule(site.attention, replacement)


def _write(model: nn.Module, attribute: Size, units: int) -> None:
    """Write a size into a module; for a field of its config, into a copy of the config, since layers may differ."""
    module = model.get_submodule(attribute.module or "")
    point, _, name = attribute.name.rpartition(".")
    if point:
        setattr(module, point, copy.copy(getattr(module, point)))
    setattr(getattr(module, point) if point else module, name, attribute.of(units))
