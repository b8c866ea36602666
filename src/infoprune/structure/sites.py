"""Sites: all sets of units of a model, found by the table of its family."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import transformers
from packaging.version import Version
from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.families import FAMILIES, Family, SiteRow
from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER, STREAMS, VOCABULARY
from infoprune.structure.fields import read_field
from infoprune.structure.hidden_size import hidden_size_of, hidden_sizes_per_layer_of
from infoprune.structure.plain import on_transformers_model
from infoprune.structure.site import Site
from infoprune.structure.site_of_row import layers_at, site_of
from infoprune.structure.stream import Layer


def family_named(model_type: str, structures: Collection[str] | None = None) -> Family:
    """Return the table of a family.

    Args:
        model_type: As in config.json.
        structures: Types of structure that the family has to have; None for any.

    Raises:
        InputError: If the model type is not supported, the installed transformers is too old for it, or the family does
            not have one of the structures; the message lists those that it has.
    """
    if model_type not in FAMILIES:
        raise InputError(
            f"model type {model_type!r} is not supported, expected one of: {', '.join(sorted(FAMILIES))}; "
            "add it as a table of paths: docs/development/add-a-family.md shows how"
        )
    family = FAMILIES[model_type]
    installed = transformers.__version__
    if family.since is not None and Version(installed) < Version(family.since):
        raise InputError(
            f"model type {model_type!r} needs transformers {family.since} or newer, found {installed}, which names its "
            f"modules otherwise; pip install 'transformers>={family.since}'"
        )
    available = (*family.structures, *family.more_structures)
    if VOCABULARY in (structures or ()):
        raise InputError(
            f"`structures` are {', '.join(structures or ())}, expected none that is cut together with the tokenizer; "
            "call infoprune.prune_vocabulary(model, tokenizer, texts) first and leave vocabulary out of `structures`"
        )
    if structures is not None and (not structures or set(structures) - set(available)):
        listed = [*available, VOCABULARY] if family.cuts_vocabulary else available
        raise InputError(
            f"`structures` are {', '.join(structures) or 'none'}, expected some of {', '.join(listed)} "
            f"for {model_type!r}; pass for example {available[0]!r}"
        )
    return family


@on_transformers_model
def find_sites(
    model: PreTrainedModel, structures: Collection[str] | None = None, *, empty: bool = False
) -> tuple[Site, ...]:
    """Return the sites of a dense or pruned model, from the bottom layer to the top.

    Args:
        model: Any model of a supported family, with or without a task head.
        structures: Types of structure; None means all that lie in the layers. "expert-neurons", "pooler",
            "hidden-size" and "hidden-size-per-layer" have to be named.
        empty: Whether to return also the sites of which no unit is left.

    Returns:
        One `Site` per layer and type of structure, with its paths and sizes.

    Raises:
        InputError: If the family or this variant of it is not supported, or if it does not have a structure that was
            named.

    Examples:
        >>> [site.name for site in find_sites(model)][:2]
        ['layers.0.heads', 'layers.0.ffn']
    """
    family = family_named(model.config.model_type, structures)
    found = _in_layers(model, family, family.structures if structures is None else structures)
    _check_there(family, structures or (), found)
    above = [row for row in _top(model, family) if structures is not None and row.structure in structures]
    found += [site_of(model, family, row, f"top.{row.structure}", 0, "") for row in above]
    if structures is not None and "pooler" in structures and not above:
        raise InputError(
            f"a {type(model).__name__} has no pooler that is read by a classifier; leave pooler out of `structures`"
        )
    if structures is not None and {*STREAMS} & {*structures}:
        found += _hidden_sizes(model, family, structures)
    return tuple(site for site in found if site.units > 0 or empty)


def _check_there(family: Family, structures: Collection[str], found: Collection[Site]) -> None:
    """Raise InputError where structures are named that only some models of the family have, and this one has not."""
    rows = {row.structure for stack in family.stacks.values() for row in stack.sites if row.on_request}
    for missing in sorted(rows & {*structures} - {site.structure for site in found}):
        raise InputError(
            f"`structures` has {missing}, but no layer of this {family.model_type} has such units; leave {missing} out "
            f"of `structures`, or pass {family.structures[0]!r}"
        )


def _in_layers(model: PreTrainedModel, family: Family, structures: Collection[str]) -> list[Site]:
    """Return the sites of some types in the layers, from the bottom to the top."""
    for field, value in family.requires:
        if read_field(model.config, field, value) != value:
            raise InputError(
                f"this {family.model_type} has {field}={read_field(model.config, field)}, expected {value}: "
                "the variant is not supported; docs/development/add-a-family.md shows how to add one"
            )
    return [
        site_of(model, family, row, f"{layer.name}.{row.structure}", number, f"{layer.path}.")
        for number, layer in _all_layers(model, family)
        for row in layer.rows
        if row.structure in structures
    ]


def every_site(model: PreTrainedModel, *, empty: bool = False, bare: bool = False) -> tuple[Site, ...]:
    """Return all sites of a model, also those that are cut on request only; `empty` as in `find_sites`.

    With `bare` it has a hidden size also without a head, to open what was cut with one.
    The hidden sizes per layer are left out: they are the coordinates of the site "hidden-size" once more.
    """
    family = family_named(model.config.model_type)
    inside = _in_layers(model, family, (*family.structures, *family.more_structures))
    above = [site_of(model, family, row, f"top.{row.structure}", 0, "") for row in _top(model, family)]
    hidden_size = hidden_size_of(model, *_stream(model, family), bare=bare)
    there = tuple(site for site in inside if site.units > 0 or empty)
    return (*there, *above, *(() if isinstance(hidden_size, str) else (hidden_size,)))


def sites_by_name(model: PreTrainedModel, *, empty: bool = False, bare: bool = False) -> dict[str, Site]:
    """Return all sites that a plan may name: `every_site`, and the hidden sizes per layer where they can be cut."""
    family = family_named(model.config.model_type)
    layered = hidden_sizes_per_layer_of(model, *_stream(model, family), bare=bare)
    sites = (*every_site(model, empty=empty, bare=bare), *(() if isinstance(layered, str) else layered))
    return {site.name: site for site in sites}


def layer_paths(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the paths of the layers of all stacks, bottom to top."""
    return tuple(layer.path for _, layer in _all_layers(model, family_named(model.config.model_type)))


def layer_entries(model: PreTrainedModel) -> dict[str, str]:
    """Return the paths of the first stack's layers by name of the site with their hidden size, bottom to top."""
    layers = (layer for _, layer in _all_layers(model, family_named(model.config.model_type)))
    return {f"{layer.name}.{HIDDEN_SIZE}": layer.path for layer in layers if layer.stack == "layers"}


def _hidden_sizes(model: PreTrainedModel, family: Family, structures: Collection[str]) -> tuple[Site, ...]:
    """Return the sites of the residual stream that `structures` name."""
    if {*STREAMS} <= {*structures}:
        raise InputError(
            f"`structures` are {HIDDEN_SIZE} and {HIDDEN_SIZE_PER_LAYER}, expected one of them: both cut the "
            f"coordinates of the residual stream; leave {HIDDEN_SIZE} out of `structures` for one size per layer"
        )
    if HIDDEN_SIZE in structures:
        hidden_size = hidden_size_of(model, *_stream(model, family))
        if isinstance(hidden_size, str):
            raise InputError(
                f"the hidden size of this {family.model_type} cannot be cut: {hidden_size}; "
                f"leave {HIDDEN_SIZE} out of `structures`"
            )
        return (hidden_size,)
    layered = hidden_sizes_per_layer_of(model, *_stream(model, family))
    if isinstance(layered, str):
        raise InputError(
            f"the layers of this {family.model_type} cannot have hidden sizes of their own: {layered}; "
            f"leave {HIDDEN_SIZE_PER_LAYER} out of `structures`"
        )
    return layered


def _stream(model: PreTrainedModel, family: Family) -> tuple[Family, list[Layer], list[SiteRow]]:
    """Return the arguments of `hidden_size_of` and `hidden_sizes_per_layer_of` after the model."""
    return family, [layer for _, layer in _all_layers(model, family)], _top(model, family)


def _all_layers(model: PreTrainedModel, family: Family) -> Iterator[tuple[int, Layer]]:
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    for name, stack in family.stacks.items():
        if len(family.stacks) > 1 and not _has(model, prefix + stack.layers):
            continue  # a class such as T5EncoderModel
        rows = tuple(row for row in stack.sites if _holds(model, row))
        for number, path in enumerate(layers_at(model, prefix + stack.layers)):
            there = {inner for inner, _ in model.get_submodule(path).named_modules()}
            own = tuple(row for row in rows if not row.optional or row.readers[0] in there)
            yield number, Layer(f"{name}.{number}", path, own)


def _holds(model: PreTrainedModel, row: SiteRow) -> bool:
    return all(read_field(model.config, field) == value for field, value in row.requires)


def _has(model: nn.Module, path: str) -> bool:
    return path.partition(".*")[0] in dict(model.named_modules())


def _top(model: PreTrainedModel, family: Family) -> list[SiteRow]:
    """Return the rows of the sites above the layers that this model class has."""
    there = dict(model.named_modules())
    paths = {row: [*(rows.module for rows in row.producers), *row.readers] for row in family.top}
    return [row for row, each in paths.items() if all(isinstance(there.get(path), nn.Linear) for path in each)]
