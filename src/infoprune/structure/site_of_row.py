"""Site of a row: the paths and sizes of one site, from a row of a family's table and the modules of a layer."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.families import Family, PositionBias, Rows, Setting, SiteRow
from infoprune.structure.experts import neurons_of, routing_of
from infoprune.structure.fields import read_field
from infoprune.structure.linear import linear
from infoprune.structure.position_bias import BIAS_HEADS
from infoprune.structure.site import SharedBias, Site, Size, Tie
from infoprune.structure.slices import Slice


def layers_at(model: nn.Module, path: str) -> Iterator[str]:
    """Yield the paths of all layers in the list at a path, in which "*" means every entry of a list."""
    above, star, below = path.partition(".*")
    module = model.get_submodule(above)
    if not isinstance(module, nn.ModuleList):
        raise InputError(f"{above} of {type(model).__name__} is a {type(module).__name__}, expected a list of layers")
    for index in range(len(module)):
        if star:
            yield from layers_at(model, f"{above}.{index}{below}")
        else:
            yield f"{above}.{index}"


def site_of(model: PreTrainedModel, family: Family, row: SiteRow, name: str, layer: int, prefix: str) -> Site:
    """Return the site that a row describes in one layer.

    Args:
        model: The model.
        family: Family of the row.
        row: Row of the family's table.
        name: Name of the site.
        layer: Index of the layer in its stack.
        prefix: Path of the layer with a dot, before which the paths of the row are relative.

    Raises:
        InputError: The sizes of the modules do not fit the row.
    """

    def number(count: int | str) -> int:
        """Return a number of the table: itself, or the value of a module's attribute."""
        if isinstance(count, int):
            return count
        path, _, attribute = count.partition(":")
        return int(getattr(model.get_submodule(prefix + path), attribute))

    def slice_of(rows: Rows) -> Slice:
        shared = math.prod(number(count) for count in rows.shared) if rows.shared else 0
        outputs = len(linear(model, prefix + rows.module).weight) - shared
        parts = [number(part) for part in rows.parts]
        share, rest = divmod(outputs, units * sum(parts))
        if rest or share == 0:
            raise InputError(
                f"{prefix}{rows.module} has {outputs} outputs for {units} units of {row.structure}, expected a "
                f"multiple of {units * sum(parts)}; this variant of {family.model_type!r} is not supported"
            )
        return Slice(prefix + rows.module, tuple(part * share for part in parts), shared)

    scale = _scale(model, row, prefix)
    if row.neurons is not None:
        inputs = model.get_parameter(prefix + row.neurons.read.parameter).shape[1 + row.neurons.read.axis]
    elif row.experts is None:
        inputs = linear(model, prefix + row.readers[0]).weight.shape[1]
    else:
        inputs = len(model.get_parameter(prefix + row.experts.parameters[0]))
    if inputs == 0:  # the modules that give the other sizes are gone
        return Site(
            name=name,
            structure=row.structure,
            layer=layer,
            units=0,
            size=1,
            producers=(),
            readers=tuple(prefix + path for path in row.readers),
            stream=row.stream and prefix + row.stream,
            refit=(),
            attributes=(),
            attention=None,
            config=(),
            shared=family.shared,
            scale=scale,
        )
    size = math.prod(number(count) for count in row.unit_size)
    units = inputs // size
    inside = model.get_submodule(prefix[:-1])
    there = {name for name, _ in inside.named_modules()}
    parameters = {prefix + name for name, _ in inside.named_parameters()} if row.vectors else set()
    producers = {rows.module: slice_of(rows) for rows in row.producers if not rows.optional or rows.module in there}
    return Site(
        name=name,
        structure=row.structure,
        layer=layer,
        units=units,
        size=size,
        producers=tuple(producers.values()),
        readers=tuple(prefix + path for path in row.readers),
        stream=None if row.stream is None else prefix + row.stream,
        refit=tuple(each for path, each in producers.items() if row.refit is None or path in row.refit),
        crossing=tuple(prefix + path for path in row.crossing),
        attributes=tuple(
            Size(a.name, number(a.each), prefix + a.module, most=number(f"{a.module}:{a.name}") if a.most else None)
            for a in row.attributes
        ),
        attention=row.attention and prefix + row.attention,
        config=tuple(_field(model, field, number(field.each)) for field in row.config),
        shared=family.shared,
        bias=None if row.bias is None else _bias(model, row.bias, prefix),
        vectors=tuple(path for path in (prefix + name for name in row.vectors) if path in parameters),
        routing=None if row.experts is None else routing_of(model, row.experts, prefix),
        neurons=None if row.neurons is None else neurons_of(model, row.neurons, prefix),
        scale=scale,
    )


def _scale(model: PreTrainedModel, row: SiteRow, prefix: str) -> str | float | None:
    if row.scale is None or not row.scale.startswith("config."):
        return row.scale and prefix + row.scale
    factor = float(str(read_field(model.config, row.scale.removeprefix("config."))))
    return None if factor == 1 else factor


def _bias(model: PreTrainedModel, bias: PositionBias, prefix: str) -> SharedBias:
    base = "" if model.base_model is model else model.base_model_prefix + "."
    table = None if bias.table is None else base + bias.table
    columns = 0 if bias.columns is None else int(getattr(model.config, bias.columns))
    stack = prefix[:-1].rpartition(".")[0]
    return SharedBias(
        module=prefix + bias.module,
        table=table,
        columns=columns if table is None else model.get_parameter(f"{table}.weight").shape[1],
        indexed=BIAS_HEADS in model.get_submodule(prefix + bias.module)._buffers,
        receivers=tuple(f"{layer}.{bias.module}" for layer in layers_at(model, stack)) if bias.passed_on else (),
        method=bias.method,
        flag=bias.flag,
        argument=bias.argument,
    )


def _field(model: PreTrainedModel, field: Setting, each: int) -> Size:
    def known(name: str | None) -> Tie | None:
        return None if name is None else Tie(name, int(str(read_field(model.config, name))))

    most = int(str(read_field(model.config, field.name))) if field.most else None
    return Size(field.name, each, fixed=field.fixed, divides=known(field.divides), fills=known(field.fills), most=most)
