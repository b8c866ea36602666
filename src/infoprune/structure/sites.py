"""Sites: all places where units of a model live, found along the table of its family."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import transformers
from packaging.version import Version
from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.families import FAMILIES, Family, Rows, Setting, SiteRow
from infoprune.plan import LAYER_WIDTH, STREAMS, VOCABULARY, WIDTH
from infoprune.structure.linear import linear
from infoprune.structure.site import Site, Size, Tie
from infoprune.structure.slices import Slice
from infoprune.structure.stream import Layer
from infoprune.structure.widths import layer_widths_of, width_of


def family_named(model_type: str, kinds: Collection[str] | None = None) -> Family:
    """The table of a family, if it has all of the kinds of site that are asked for.

    Raises:
        InputError: the model_type is not in the table, the installed transformers is too old for it, or the family has
            no site of such a kind; the message says what there is.
    """
    if model_type not in FAMILIES:
        raise InputError(
            f"model type {model_type!r} is not supported, expected one of: {', '.join(sorted(FAMILIES))}; "
            "add it as a table of paths: docs/add-a-family.md shows how"
        )
    family = FAMILIES[model_type]
    installed = transformers.__version__
    if family.since is not None and Version(installed) < Version(family.since):
        raise InputError(
            f"model type {model_type!r} needs transformers {family.since} or newer, found {installed}, which builds it "
            f"otherwise; pip install 'transformers>={family.since}'"
        )
    available = (*family.kinds, *family.more_kinds)
    if VOCABULARY in (kinds or ()):
        raise InputError(
            "the site vocabulary was asked for, which is cut together with the tokenizer and before all others; "
            "call infoprune.prune_vocabulary(model, tokenizer, texts) and leave it out here"
        )
    if kinds is not None and (not kinds or set(kinds) - set(available)):
        listed = [*available, VOCABULARY] if family.reads_tokens else available
        raise InputError(
            f"sites {', '.join(kinds) or 'none'} were asked for, expected some of {', '.join(listed)} "
            f"for {model_type!r}; pass for example {available[0]!r}"
        )
    return family


def find_sites(
    model: PreTrainedModel, kinds: Collection[str] | None = None, *, empty: bool = False
) -> tuple[Site, ...]:
    """The sites of a model, from the bottom layer to the top; works on dense and on pruned models.

    Args:
        model: any model of a supported family, with or without a task head.
        kinds: which kinds of site; None means all that stand in the layers. "pooler", "width" and "layer-width" have to
            be asked for.
        empty: also those of which no unit is left.

    Raises:
        InputError: the family is not supported, this variant of it is not, or it has no site of a kind that was asked
            for.

    Example:
        >>> [site.name for site in find_sites(model)][:2]
        ['layers.0.heads', 'layers.0.ffn']
    """
    family = family_named(model.config.model_type, kinds)
    for field, value in family.requires:
        if getattr(model.config, field) != value:
            raise InputError(
                f"this {family.model_type} has {field}={getattr(model.config, field)}, expected {value}: "
                "the variant is not supported; docs/add-a-family.md shows how to add one"
            )
    found = [
        _site(model, family, row, f"{layer.name}.{row.kind}", number, f"{layer.path}.")
        for number, layer in _all_layers(model, family)
        for row in layer.rows
        if kinds is None or row.kind in kinds
    ]
    above = [row for row in _top(model, family) if kinds is not None and row.kind in kinds]
    found += [_site(model, family, row, f"top.{row.kind}", 0, "") for row in above]
    if kinds is not None and "pooler" in kinds and not above:
        raise InputError(f"a {type(model).__name__} has no pooler that is read by a classifier; leave it out of sites")
    if kinds is not None and {*STREAMS} & {*kinds}:
        found += _widths(model, family, kinds)
    return tuple(site for site in found if site.units > 0 or empty)


def every_site(model: PreTrainedModel, *, empty: bool = False) -> tuple[Site, ...]:
    """All sites of a model, those included that are cut only where they are asked for; `empty` as in `find_sites`.

    Of the widths only that of the whole stream: those of the layers are the same coordinates once more.
    """
    family = family_named(model.config.model_type)
    above = [_site(model, family, row, f"top.{row.kind}", 0, "") for row in _top(model, family)]
    width = width_of(model, *_stream(model, family))
    return (*find_sites(model, empty=empty), *above, *(() if isinstance(width, str) else (width,)))


def sites_by_name(model: PreTrainedModel, *, empty: bool = False) -> dict[str, Site]:
    """All sites that a plan may name: `every_site`, and the widths of the layers where they can differ."""
    family = family_named(model.config.model_type)
    layered = layer_widths_of(model, *_stream(model, family))
    sites = (*every_site(model, empty=empty), *(() if isinstance(layered, str) else layered))
    return {site.name: site for site in sites}


def layer_entries(model: PreTrainedModel) -> dict[str, str]:
    """Paths of the layers of the first stack by name of the site that is a layer's width, bottom to top."""
    layers = (layer for _, layer in _all_layers(model, family_named(model.config.model_type)))
    return {f"{layer.name}.{WIDTH}": layer.path for layer in layers if layer.stack == "layers"}


def _widths(model: PreTrainedModel, family: Family, kinds: Collection[str]) -> tuple[Site, ...]:
    """The sites of the residual stream that are asked for."""
    if {*STREAMS} <= {*kinds}:
        raise InputError(
            f"sites {WIDTH} and {LAYER_WIDTH} were asked for, expected one of them: both are the coordinates of the "
            f"residual stream; leave {WIDTH} out for a width of its own in every layer"
        )
    if WIDTH in kinds:
        width = width_of(model, *_stream(model, family))
        if isinstance(width, str):
            raise InputError(f"the width of this {family.model_type} cannot be cut: {width}; leave it out of sites")
        return (width,)
    layered = layer_widths_of(model, *_stream(model, family))
    if isinstance(layered, str):
        raise InputError(
            f"the layers of this {family.model_type} cannot have widths of their own: {layered}; "
            f"leave {LAYER_WIDTH} out of sites"
        )
    return layered


def _stream(model: PreTrainedModel, family: Family) -> tuple[Family, list[Layer], list[SiteRow]]:
    """What `width_of` and `layer_widths_of` follow the stream along."""
    return family, [layer for _, layer in _all_layers(model, family)], _top(model, family)


def _all_layers(model: PreTrainedModel, family: Family) -> Iterator[tuple[int, Layer]]:
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    for name, stack in family.stacks.items():
        for number, path in enumerate(_layers(model, prefix + stack.layers)):
            yield number, Layer(f"{name}.{number}", path, stack.sites)


def _top(model: PreTrainedModel, family: Family) -> list[SiteRow]:
    """The sites above the layers that this class of model has."""
    there = dict(model.named_modules())
    paths = {row: [*(rows.module for rows in row.producers), *row.readers] for row in family.top}
    return [row for row, each in paths.items() if all(isinstance(there.get(path), nn.Linear) for path in each)]


def _layers(model: nn.Module, path: str) -> Iterator[str]:
    """Paths of all layers in the list at a path, in which a "*" stands for every entry of a list."""
    above, star, below = path.partition(".*")
    module = model.get_submodule(above)
    if not isinstance(module, nn.ModuleList):
        raise InputError(f"{above} of {type(model).__name__} is a {type(module).__name__}, expected a list of layers")
    for index in range(len(module)):
        if star:
            yield from _layers(model, f"{above}.{index}{below}")
        else:
            yield f"{above}.{index}"


def _site(model: PreTrainedModel, family: Family, row: SiteRow, name: str, layer: int, prefix: str) -> Site:
    def number(count: int | str) -> int:
        """A number of the table: itself, or what a module's attribute says."""
        if isinstance(count, int):
            return count
        path, _, attribute = count.partition(":")
        return int(getattr(model.get_submodule(prefix + path), attribute))

    def slice_of(rows: Rows) -> Slice:
        outputs = len(linear(model, prefix + rows.module).weight)
        parts = [number(part) for part in rows.parts]
        share, rest = divmod(outputs, units * sum(parts))
        if rest or share == 0:
            raise InputError(
                f"{prefix}{rows.module} has {outputs} outputs for {units} units of {row.kind}, expected a multiple of "
                f"{units * sum(parts)}; this variant of {family.model_type!r} is not supported"
            )
        return Slice(prefix + rows.module, tuple(part * share for part in parts))

    inputs = linear(model, prefix + row.readers[0]).weight.shape[1]
    if inputs == 0:  # and what would say more is gone
        return Site(
            name=name,
            kind=row.kind,
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
        )
    size = math.prod(number(count) for count in row.unit_size)
    units = inputs // size
    there = {name for name, _ in model.get_submodule(prefix[:-1]).named_modules()}
    producers = {rows.module: slice_of(rows) for rows in row.producers if not rows.optional or rows.module in there}
    return Site(
        name=name,
        kind=row.kind,
        layer=layer,
        units=units,
        size=size,
        producers=tuple(producers.values()),
        readers=tuple(prefix + path for path in row.readers),
        stream=None if row.stream is None else prefix + row.stream,
        refit=tuple(each for path, each in producers.items() if row.refit is None or path in row.refit),
        crossing=tuple(prefix + path for path in row.crossing),
        attributes=tuple(Size(a.name, number(a.each), prefix + a.module) for a in row.attributes),
        attention=row.attention and prefix + row.attention,
        config=tuple(_field(model, field, number(field.each)) for field in row.config),
        shared=family.shared,
    )


def _field(model: PreTrainedModel, field: Setting, each: int) -> Size:
    def known(name: str | None) -> Tie | None:
        return None if name is None else Tie(name, int(getattr(model.config, name)))

    return Size(field.name, each, fixed=field.fixed, divides=known(field.divides), fills=known(field.fills))
