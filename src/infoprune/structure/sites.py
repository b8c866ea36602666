"""Sites: where the units of a model live. Paths and sizes, no arithmetic on weights."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.families import FAMILIES, Family, Rows, SiteRow
from infoprune.plan import VOCABULARY
from infoprune.structure.linear import linear
from infoprune.structure.slices import Slice


@dataclass(frozen=True)
class Size:
    """A number that says how many units there are: a module's attribute or a field of the config.

    Args:
        name: of the attribute or field.
        each: what it counts for every unit.
        module: path of the module; None for the model's config.
        fixed: it is `each` whatever the number of units.
        within: a number of which a stock config wants it to be a divisor, or None.
    """

    name: str
    each: int
    module: str | None = None
    fixed: bool = False
    within: int | None = None

    def of(self, units: int) -> int:
        """What it is for some number of units."""
        return self.each if self.fixed else self.each * units

    def allows(self, units: int) -> bool:
        """Whether a stock config can say it."""
        return self.within is None or self.within % self.of(units) == 0


@dataclass(frozen=True)
class Site:
    """A set of units that some modules produce and one module reads.

    Args:
        name: unique within the model, e.g. "layers.3.ffn"; "decoder.3.ffn" in the decoder of an encoder-decoder.
        kind: "ffn", "heads" or "cross-heads".
        layer: index of the layer, 0 at the bottom of its stack.
        units: how many there are now.
        size: coordinates of the reader's input that a unit owns (1 for a neuron, the head size for a head, the size of
            all of its query heads for a key/value group).
        producers: the rows of linear modules that are the units.
        readers: paths of the linear modules whose input columns are the units.
        stream: path of a module whose first input is the residual that the reader's output is added to, or None.
        refit: the producers that a repair re-fits too.
        attributes: sizes that modules keep about themselves.
        attention: path of the module that is left out where no head stays; None where there is none, or it has to stay.
        config: fields that say `units` for every layer at once; empty where a stock config has no word for it.
        shared: the layer is applied several times in one pass.
    """

    name: str
    kind: str
    layer: int
    units: int
    size: int
    producers: tuple[Slice, ...]
    readers: tuple[str, ...]
    stream: str | None
    refit: tuple[Slice, ...]
    attributes: tuple[Size, ...]
    attention: str | None
    config: tuple[Size, ...]
    shared: bool

    @property
    def reader(self) -> str:
        """Path of the first reader: its input is where the units are measured."""
        return self.readers[0]

    @property
    def stack(self) -> str:
        """Which list of layers: "layers", or "decoder" for the decoder of an encoder-decoder."""
        return self.name.partition(".")[0]

    @property
    def least(self) -> int:
        """The fewest units that can stay: none where the whole block can go."""
        return 0 if self.kind == "ffn" or self.attention is not None else 1

    def stock(self, units: int) -> bool:
        """Whether a stock config can say this number of units, if it is the same in every layer."""
        return units > 0 and bool(self.config) and all(field.allows(units) for field in self.config)


def family_named(model_type: str, kinds: Collection[str] | None = None) -> Family:
    """The table of a family, if it has all of the kinds of site that are asked for.

    Raises:
        InputError: the model_type is not in the table, or the family has no site of such a kind; the message lists what
            there is.
    """
    if model_type not in FAMILIES:
        raise InputError(
            f"model type {model_type!r} is not supported, expected one of: {', '.join(sorted(FAMILIES))}; "
            "add it as a table of paths: docs/add-a-family.md shows how"
        )
    family = FAMILIES[model_type]
    available = family.kinds
    if VOCABULARY in (kinds or ()):
        raise InputError(
            "the site vocabulary was asked for, which is cut together with the tokenizer and before all others; "
            "call infoprune.prune_vocabulary(model, tokenizer, texts) and leave it out here"
        )
    if kinds is not None and (not kinds or set(kinds) - set(available)):
        listed = [*available, VOCABULARY] if family.task != "image-classification" else available
        raise InputError(
            f"sites {', '.join(kinds) or 'none'} were asked for, expected some of {', '.join(listed)} "
            f"for {model_type!r}; pass for example {available[0]!r}"
        )
    return family


def find_sites(
    model: PreTrainedModel, kinds: Collection[str] | None = None, *, empty: bool = False
) -> tuple[Site, ...]:
    """All sites of a model, from the bottom layer to the top; works on dense and on pruned models.

    Args:
        model: any model of a supported family, with or without a task head.
        kinds: which kinds of site; None means all that the family has.
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
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    sites = (
        _site(model, family, row, f"{name}.{layer}.{row.kind}", layer, f"{path}.")
        for name, stack in family.stacks.items()
        for layer, path in enumerate(_layers(model, prefix + stack.layers))
        for row in stack.sites
        if kinds is None or row.kind in kinds
    )
    return tuple(site for site in sites if site.units > 0 or empty)


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
        refit=tuple(producers[path] for path in row.refit if path in producers),
        attributes=tuple(Size(a.name, number(a.each), prefix + a.module) for a in row.attributes),
        attention=row.attention and prefix + row.attention,
        config=tuple(
            Size(
                field.name,
                number(field.each),
                fixed=field.fixed,
                within=None if field.divides is None else int(getattr(model.config, field.divides)),
            )
            for field in row.config
        ),
        shared=family.shared,
    )


def alike(sites: Iterable[Site]) -> list[list[Site]]:
    """Sites for which a stock config has one number: of one kind in one stack, or in both where they share a field."""
    groups: dict[tuple[str, ...], list[Site]] = {}
    for site in sites:
        words = tuple(field.name for field in site.config) or (site.stack, site.kind)
        groups.setdefault(words, []).append(site)
    return list(groups.values())


def loads_in(sites: Collection[Site], counts: Mapping[str, tuple[int, int]]) -> str:
    """What can open a model after a cut: "transformers" if a stock config can say its shapes, else "infoprune".

    Args:
        sites: of the dense model.
        counts: (kept, of) by site name, as in a plan.
    """
    for same in alike(sites):
        kept = {counts.get(site.name, (site.units, site.units))[0] for site in same}
        untouched = all(left == of for left, of in (counts[site.name] for site in same if site.name in counts))
        if not untouched and (len(kept) > 1 or not same[0].stock(kept.pop())):
            return "infoprune"
    return "transformers"
