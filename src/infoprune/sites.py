"""Sites: where the units of a model live. Paths only, no arithmetic."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.families import FAMILIES, Attribute, Family, SiteRow


@dataclass(frozen=True)
class Site:
    """A set of units that some modules produce and one module reads.

    Args:
        name: unique within the model, e.g. "layers.3.ffn".
        kind: "ffn" or "heads".
        layer: index of the layer, 0 at the bottom.
        units: how many there are now.
        size: coordinates that a unit owns (1 for a neuron, the head size for a head).
        producers: paths of the linear modules whose output rows are the units.
        readers: paths of the linear modules whose input columns are the units.
        stream: path of the module whose first input is the reader's output plus the residual.
        refit: paths of the producers that a repair re-fits too.
        attributes: sizes that modules keep about themselves, with absolute paths.
        config: config field that says `units` for every layer at once, or None.
    """

    name: str
    kind: str
    layer: int
    units: int
    size: int
    producers: tuple[str, ...]
    readers: tuple[str, ...]
    stream: str
    refit: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    config: str | None

    @property
    def reader(self) -> str:
        """Path of the first reader: its input is where the units are measured."""
        return self.readers[0]


def family_named(model_type: str, kinds: Collection[str] | None = None) -> Family:
    """The table of a family, if it has all of the kinds of site that are asked for.

    Raises:
        InputError: the model_type is not in the table, or the family has no site of such a kind; the message lists what
            there is.
    """
    if model_type not in FAMILIES:
        raise InputError(
            f"model type {model_type!r} is not supported, expected one of: {', '.join(sorted(FAMILIES))}; "
            "docs/architecture.md shows how to add a family, which is a table of paths"
        )
    family = FAMILIES[model_type]
    available = [row.kind for row in family.sites]
    if kinds is not None and (not kinds or set(kinds) - set(available)):
        raise InputError(
            f"sites {', '.join(kinds) or 'none'} were asked for, expected some of {', '.join(available)} "
            f"for {model_type!r}; pass for example {available[0]!r}"
        )
    return family


def find_sites(model: PreTrainedModel, kinds: Collection[str] | None = None) -> tuple[Site, ...]:
    """All sites of a model, from the bottom layer to the top; works on dense and on pruned models.

    Args:
        model: any model of a supported family, with or without a task head.
        kinds: which kinds of site; None means all that the family has.

    Raises:
        InputError: the family is not supported, or it has no site of a kind that was asked for.

    Example:
        >>> [site.name for site in find_sites(model)][:2]
        ['layers.0.heads', 'layers.0.ffn']
    """
    family = family_named(model.config.model_type, kinds)
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    layers = f"{prefix}{family.layers}"
    module = model.get_submodule(layers)
    if not isinstance(module, nn.ModuleList):
        raise InputError(f"{layers} of {type(model).__name__} is a {type(module).__name__}, expected a list of layers")
    return tuple(
        _site(model, row, layer, f"{layers}.{layer}.")
        for layer in range(len(module))
        for row in family.sites
        if kinds is None or row.kind in kinds
    )


def _site(model: nn.Module, row: SiteRow, layer: int, prefix: str) -> Site:
    size = 1
    if row.unit_size is not None:
        path, _, attribute = row.unit_size.partition(":")
        size = int(getattr(model.get_submodule(prefix + path), attribute))
    columns = linear(model, prefix + row.readers[0]).in_features
    return Site(
        name=f"layers.{layer}.{row.kind}",
        kind=row.kind,
        layer=layer,
        units=columns // size,
        size=size,
        producers=tuple(prefix + path for path in row.producers),
        readers=tuple(prefix + path for path in row.readers),
        stream=prefix + row.stream,
        refit=tuple(prefix + path for path in row.refit),
        attributes=tuple(Attribute(prefix + a.module, a.name, a.counts) for a in row.attributes),
        config=row.config,
    )


def linear(model: nn.Module, path: str) -> nn.Linear:
    """The linear module at a path.

    Raises:
        InputError: what is there is not a torch.nn.Linear (a quantised or adapted layer, for example).
    """
    module = model.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise InputError(
            f"{path} is a {type(module).__name__}, expected torch.nn.Linear; prune before quantising or adding adapters"
        )
    return module


def loads_in(sites: Collection[Site], counts: Mapping[str, tuple[int, int]]) -> str:
    """What can open a model after a cut: "transformers" if a stock config can say its shapes, else "infoprune".

    Args:
        sites: of the dense model.
        counts: (kept, of) by site name, as in a plan.
    """
    for kind in {site.kind for site in sites}:
        same = [site for site in sites if site.kind == kind]
        kept = {counts.get(site.name, (site.units, site.units))[0] for site in same}
        untouched = all(left == of for left, of in (counts[site.name] for site in same if site.name in counts))
        if not untouched and (same[0].config is None or len(kept) > 1):
            return "infoprune"
    return "transformers"
