"""Stream: the modules that write, normalise and read the residual stream. Paths, no arithmetic on weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from infoprune.families import Family, HiddenSize, Norms, SiteRow
from infoprune.structure.fields import read_field
from infoprune.structure.linear import linear


def stack_of(name: str) -> str:
    """Return the stack of a site or read point: "decoder" or "pictures" where its name begins so, else "layers"."""
    first = name.partition(".")[0]
    return first if first in ("decoder", "pictures") else "layers"


@dataclass(frozen=True)
class ReadPoint:
    """Linear modules that read the same vectors of the stream.

    Args:
        name: Name, unique within the model; begins with the stack whose tokens pass, e.g. "layers.3.hidden-size.heads".
        modules: Paths of the linear modules.
        norm: Path of the norm whose output is read here, or None.
    """

    name: str
    modules: tuple[str, ...]
    norm: str | None


@dataclass(frozen=True)
class Stream:
    """Residual stream of a model, or the part of it that lies in one layer.

    Args:
        hidden_size: Number of its coordinates now.
        tables: Paths of modules whose own parameters are vectors of the stream, norms included.
        writers: Paths of the linear modules whose outputs are added to the stream.
        read_points: Read points of the stream, bottom to top.
        tied: Paths of readers that share their weight with a table.
        empty_readers: Paths of readers that have no outputs any more.
        entry: For the part of one layer, path of the layer, which may keep fewer coordinates than it gets; None for the
            whole stream.
    """

    hidden_size: int
    tables: tuple[str, ...]
    writers: tuple[str, ...]
    read_points: tuple[ReadPoint, ...]
    tied: tuple[str, ...]
    empty_readers: tuple[str, ...]
    entry: str | None = None

    @property
    def readers(self) -> tuple[str, ...]:
        """Paths of all linear modules that read the stream."""
        return (*(path for point in self.read_points for path in point.modules), *self.empty_readers)


@dataclass(frozen=True)
class Layer:
    """Layer of a stack: its name ("layers.3"), its path, and the rows of the sites in it."""

    name: str
    path: str
    rows: tuple[SiteRow, ...]

    @property
    def stack(self) -> str:
        """Name of the stack: "layers", "decoder" or "pictures"."""
        return stack_of(self.name)


def follow(
    model: PreTrainedModel,
    family: Family,
    hidden_size: HiddenSize,
    layers: Sequence[Layer],
    top: Sequence[SiteRow],
    *,
    bare: bool = False,
) -> Stream | str:
    """Return the residual stream of a model, or the reason why its hidden size cannot be cut.

    Args:
        model: Model of the family.
        family: Table of the model's family.
        hidden_size: The family's description of the stream.
        layers: Layers of all stacks, bottom to top.
        top: Rows of the sites above the layers that this model class has.
        bare: Whether the model is opened with a stream that was cut before: then it needs no head, and linear modules
            above the layers that the table does not name are heads.
    """
    for field, value in hidden_size.requires:
        if read_field(model.config, field) != value:
            return f"it has {field}={read_field(model.config, field)}, expected {value}"
    modules = dict(model.named_modules())
    base = "" if model.base_model is model else model.base_model_prefix + "."
    inner = {path for row in top for path in row.readers}
    heads = tuple(
        path for path in hidden_size.heads if isinstance(modules.get(path), nn.Linear | Conv1D) and path not in inner
    )
    if not heads and not bare:
        return (
            f"a {type(model).__name__} has no head that reads the residual stream, so its embeddings would get shorter "
            "and could not be compared with those of the original model"
        )
    projected = hidden_size.projected is not None and base + hidden_size.projected in modules
    biases = {row.bias.table for layer in layers for row in layer.rows if row.bias is not None and row.bias.table}
    outside = biases | set(hidden_size.tables if projected else ())
    stream = _with_heads(model, hidden_size, layers, modules, heads, projected)
    unknown = list(_unknown(modules, stream, inner, outside, base))
    more = tuple(path for path in unknown if bare and _reads(modules[path], stream))
    if more:
        stream = _with_heads(model, hidden_size, layers, modules, (*heads, *more), projected)
        unknown = list(_unknown(modules, stream, inner, outside, base))
    return f"the table of its family does not describe {unknown[0]} of a {type(model).__name__}" if unknown else stream


def _reads(module: nn.Module, stream: Stream) -> bool:
    return isinstance(module, nn.Linear) and module.in_features == stream.hidden_size


def _with_heads(
    model: PreTrainedModel,
    hidden_size: HiddenSize,
    layers: Sequence[Layer],
    modules: dict[str, nn.Module],
    heads: tuple[str, ...],
    projected: bool,
) -> Stream:
    """Return the stream that these heads read above the layers."""
    base = "" if model.base_model is model else model.base_model_prefix + "."
    entry = () if projected else tuple(base + path for path in hidden_size.tables)
    norms = {"layers": _norms(hidden_size.norms, base, layers, "layers", skip=projected)}
    if hidden_size.decoder is not None:
        norms["decoder"] = _norms(hidden_size.decoder, base, layers, "decoder", skip=False)
    within = tuple(f"{layer.path}.{path}" for layer in layers for row in layer.rows for path in row.readers)
    writers = (*((base + str(hidden_size.projected),) if projected else ()), *within)
    read_points = [
        *_inside(layers, modules),
        ("decoder" if hidden_size.decoder else "layers", "hidden-size.top", heads),
    ]
    empty = {path for _, _, each in read_points for path in each if len(linear(model, path).weight) == 0}
    named = tuple(_with_norms(read_points, norms, projected, empty))
    tables = (*entry, *(path for each in norms.values() for path in each))
    own = {id(parameter) for path in tables for parameter in modules[path].parameters(recurse=False)}
    tied = tuple(path for point in named for path in point.modules if id(modules[path].weight) in own)
    return Stream(len(linear(model, writers[-1]).weight), tables, writers, named, tied, tuple(sorted(empty)))


def by_layer(stream: Stream, layers: Sequence[Layer], above: Sequence[str]) -> tuple[Stream, ...]:
    """Split the stream of a model with one stack into the parts of its layers, bottom to top.

    The modules below the layers belong to the first layer's part, those above to the last layer's.

    Args:
        stream: Stream of the whole model.
        layers: Layers, bottom to top.
        above: Paths of the norms above the layers.
    """
    last = len(layers) - 1

    def owner(path: str) -> int:
        inside = (index for index, layer in enumerate(layers) if path.startswith(f"{layer.path}."))
        return next(inside, last if path in above or path in heads else 0)

    heads = {path for point in stream.read_points if point.name == "layers.top.hidden-size" for path in point.modules}
    return tuple(
        Stream(
            hidden_size=stream.hidden_size,
            tables=tuple(path for path in stream.tables if owner(path) == index),
            writers=tuple(path for path in stream.writers if owner(path) == index),
            read_points=tuple(
                point for point in stream.read_points if point.modules and owner(point.modules[0]) == index
            ),
            tied=tuple(path for path in stream.tied if owner(path) == index),
            empty_readers=tuple(path for path in stream.empty_readers if owner(path) == index),
            entry=layer.path,
        )
        for index, layer in enumerate(layers)
    )


def _norms(norms: Norms, base: str, layers: Sequence[Layer], stack: str, *, skip: bool) -> tuple[str, ...]:
    within = (f"{layer.path}.{path}" for layer in layers if layer.stack == stack for path in norms.within)
    below = () if skip else tuple(base + path for path in norms.below)
    return (*below, *within, *(base + path for path in norms.above))


def _inside(layers: Sequence[Layer], modules: dict[str, nn.Module]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield (stack whose tokens pass, name, modules) of the read points inside the layers."""
    for layer in layers:
        for row in layer.rows:
            paths = [rows.module for rows in row.producers]
            crossing = tuple(f"{layer.path}.{path}" for path in paths if path in row.crossing)
            own = tuple(f"{layer.path}.{path}" for path in paths if path not in row.crossing)
            yield (
                layer.stack,
                f"{layer.name}.hidden-size.{row.structure}",
                tuple(path for path in own if path in modules),
            )
            if crossing:
                yield "layers", f"layers.{layer.name}.hidden-size.{row.structure}", crossing


def _with_norms(
    read_points: Sequence[tuple[str, str, tuple[str, ...]]],
    norms: dict[str, tuple[str, ...]],
    projected: bool,
    empty: set[str],
) -> Iterator[ReadPoint]:
    """Yield read points with their norms: a stack's n-th read point reads its n-th norm, all further ones the last."""
    seen = dict.fromkeys(norms, 0)
    if projected:
        seen["layers"] = -1
    for stack, name, modules in read_points:
        passed, seen[stack] = seen[stack], seen[stack] + 1
        each = norms[stack]
        norm = None if passed < 0 or not each else each[min(passed, len(each) - 1)]
        yield ReadPoint(
            name if name != "hidden-size.top" else f"{stack}.top.hidden-size",
            tuple(path for path in modules if path not in empty),
            norm,
        )


def _unknown(
    modules: dict[str, nn.Module], stream: Stream, inner: set[str], outside: set[str], base: str
) -> Iterator[str]:
    """Yield the modules with an axis of the hidden size that the table does not describe."""
    known = {*stream.tables, *stream.writers, *stream.readers, *inner, *(base + path for path in outside)}
    for path, module in modules.items():
        if path in known:
            continue
        if any(stream.hidden_size in parameter.shape for parameter in module.parameters(recurse=False)):
            yield path
