"""Stream: where the residual stream of a model is written, normed and read. Paths, no arithmetic on weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from infoprune.families import Family, Norms, SiteRow, Width
from infoprune.structure.linear import linear


def stack_of(name: str) -> str:
    """Which stack's tokens are met at a site or a place: "decoder" in that of an encoder-decoder, else "layers"."""
    return "decoder" if name.startswith("decoder.") else "layers"


@dataclass(frozen=True)
class Place:
    """Linear modules that are given the same vectors of the stream.

    Args:
        name: unique within the model; begins with the stack whose tokens pass here, e.g. "layers.3.width.heads".
        modules: their paths.
        norm: path of the norm that writes what is read here, or None.
    """

    name: str
    modules: tuple[str, ...]
    norm: str | None


@dataclass(frozen=True)
class Stream:
    """The residual stream.

    Args:
        width: coordinates that it has now.
        tables: paths of modules whose own parameters are vectors of it; norms are among them.
        writers: paths of the linear modules whose outputs are added to it.
        places: where it is read, bottom to top.
        tied: paths of readers whose weight is a table's.
        silent: paths of readers that have no outputs any more.
        entry: of one layer's part, path of the layer that may go on with fewer coordinates than it is given; None of
            the whole.
    """

    width: int
    tables: tuple[str, ...]
    writers: tuple[str, ...]
    places: tuple[Place, ...]
    tied: tuple[str, ...]
    silent: tuple[str, ...]
    entry: str | None = None

    @property
    def readers(self) -> tuple[str, ...]:
        """Paths of all linear modules that read it."""
        return (*(path for place in self.places for path in place.modules), *self.silent)


@dataclass(frozen=True)
class Layer:
    """One layer of a stack, by which a stream is followed: its name ("layers.3"), its path, and what stands in it."""

    name: str
    path: str
    rows: tuple[SiteRow, ...]

    @property
    def stack(self) -> str:
        """As in the name: "layers" or "decoder"."""
        return stack_of(self.name)


def follow(
    model: PreTrainedModel, family: Family, width: Width, layers: Sequence[Layer], top: Sequence[SiteRow]
) -> Stream | str:
    """The residual stream of a model, or the reason why its width cannot be cut.

    Args:
        model: of the family.
        family: that it is of.
        width: its table.
        layers: of all stacks, bottom to top.
        top: the sites above the layers that this class of model has.
    """
    for field, value in width.requires:
        if getattr(model.config, field) != value:
            return f"it has {field}={getattr(model.config, field)}, expected {value}"
    there = dict(model.named_modules())
    base = "" if model.base_model is model else model.base_model_prefix + "."
    inner = {path for row in top for path in row.readers}
    heads = tuple(path for path in width.heads if isinstance(there.get(path), nn.Linear | Conv1D) and path not in inner)
    if not heads:
        return (
            f"a {type(model).__name__} has nothing above the stream to read it, so its embeddings would be shorter and "
            "could not be compared with the dense model's"
        )
    projected = width.projected is not None and base + width.projected in there
    entry = () if projected else tuple(base + path for path in width.tables)
    norms = {"layers": _norms(width.norms, base, layers, "layers", skip=projected)}
    if width.decoder is not None:
        norms["decoder"] = _norms(width.decoder, base, layers, "decoder", skip=False)
    within = tuple(f"{layer.path}.{path}" for layer in layers for row in layer.rows for path in row.readers)
    writers = (*((base + str(width.projected),) if projected else ()), *within)
    places = [*_inside(layers, there), ("decoder" if width.decoder else "layers", "width.top", heads)]
    silent = {path for _, _, each in places for path in each if len(linear(model, path).weight) == 0}
    named = tuple(_with_norms(places, norms, projected, silent))
    tables = (*entry, *(path for each in norms.values() for path in each))
    own = {id(parameter) for path in tables for parameter in there[path].parameters(recurse=False)}
    tied = tuple(path for place in named for path in place.modules if id(there[path].weight) in own)
    stream = Stream(len(linear(model, writers[-1]).weight), tables, writers, named, tied, tuple(sorted(silent)))
    unknown = next(_unknown(there, stream, inner, set(width.tables if projected else ()), base), None)
    return stream if unknown is None else f"the table does not say what {unknown} of a {type(model).__name__} is"


def by_layer(stream: Stream, layers: Sequence[Layer], above: Sequence[str]) -> tuple[Stream, ...]:
    """The parts of a stream that lie in each of the layers of its one stack, bottom to top.

    What stands below the layers goes with the first of them, what stands above with the last.

    Args:
        stream: of the whole model.
        layers: bottom to top.
        above: paths of the norms above the layers.
    """
    last = len(layers) - 1

    def owner(path: str) -> int:
        inside = (index for index, layer in enumerate(layers) if path.startswith(f"{layer.path}."))
        return next(inside, last if path in above or path in heads else 0)

    heads = {path for place in stream.places if place.name == "layers.top.width" for path in place.modules}
    return tuple(
        Stream(
            width=stream.width,
            tables=tuple(path for path in stream.tables if owner(path) == index),
            writers=tuple(path for path in stream.writers if owner(path) == index),
            places=tuple(place for place in stream.places if place.modules and owner(place.modules[0]) == index),
            tied=tuple(path for path in stream.tied if owner(path) == index),
            silent=tuple(path for path in stream.silent if owner(path) == index),
            entry=layer.path,
        )
        for index, layer in enumerate(layers)
    )


def _norms(norms: Norms, base: str, layers: Sequence[Layer], stack: str, *, skip: bool) -> tuple[str, ...]:
    within = (f"{layer.path}.{path}" for layer in layers if layer.stack == stack for path in norms.within)
    below = () if skip else tuple(base + path for path in norms.below)
    return (*below, *within, *(base + path for path in norms.above))


def _inside(layers: Sequence[Layer], there: dict[str, nn.Module]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(stack whose tokens pass, name, modules) of the places inside the layers."""
    for layer in layers:
        for row in layer.rows:
            paths = [rows.module for rows in row.producers]
            crossing = tuple(f"{layer.path}.{path}" for path in paths if path in row.crossing)
            own = tuple(f"{layer.path}.{path}" for path in paths if path not in row.crossing)
            yield layer.stack, f"{layer.name}.width.{row.kind}", tuple(path for path in own if path in there)
            if crossing:
                yield "layers", f"layers.{layer.name}.width.{row.kind}", crossing


def _with_norms(
    places: Sequence[tuple[str, str, tuple[str, ...]]],
    norms: dict[str, tuple[str, ...]],
    projected: bool,
    silent: set[str],
) -> Iterator[Place]:
    """The n-th norm of a stack writes what its n-th place reads; the last one what all further places read."""
    seen = dict.fromkeys(norms, 0)
    if projected:
        seen["layers"] = -1
    for stack, name, modules in places:
        passed, seen[stack] = seen[stack], seen[stack] + 1
        each = norms[stack]
        norm = None if passed < 0 or not each else each[min(passed, len(each) - 1)]
        yield Place(
            name if name != "width.top" else f"{stack}.top.width",
            tuple(path for path in modules if path not in silent),
            norm,
        )


def _unknown(
    there: dict[str, nn.Module], stream: Stream, inner: set[str], projected: set[str], base: str
) -> Iterator[str]:
    """Modules with parameters as long as the stream is wide of which the table says nothing."""
    known = {*stream.tables, *stream.writers, *stream.readers, *inner, *(base + path for path in projected)}
    for path, module in there.items():
        if path in known:
            continue
        if any(stream.width in parameter.shape for parameter in module.parameters(recurse=False)):
            yield path
