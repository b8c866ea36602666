"""Site: where the units of one kind live in a layer. Paths and sizes, no arithmetic on weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from infoprune.plan import STREAMS
from infoprune.structure.slices import Slice
from infoprune.structure.stream import Stream, stack_of


@dataclass(frozen=True)
class Tie:
    """Another field of the config, and its present value."""

    name: str
    value: int


@dataclass(frozen=True)
class Size:
    """A number that says how many units there are: a module's attribute or a field of the config.

    Args:
        name: of the attribute or field.
        each: what it counts for every unit.
        module: path of the module; None for the model's config.
        fixed: it is `each` whatever the number of units.
        divides: a field that a stock config wants to be a multiple of it, or None.
        fills: a field that a stock config wants to be the number of all coordinates that the units own, or None.
    """

    name: str
    each: int
    module: str | None = None
    fixed: bool = False
    divides: Tie | None = None
    fills: Tie | None = None

    def of(self, units: int) -> int:
        """What it is for some number of units."""
        return self.each if self.fixed else self.each * units


@dataclass(frozen=True)
class Site:
    """A set of units that some modules produce and one module reads.

    Args:
        name: unique within the model, e.g. "layers.3.ffn"; "decoder.3.ffn" in the decoder of an encoder-decoder.
        kind: "ffn", "heads" or "cross-heads"; "pooler" above the layers; "width" for the coordinates of the residual
            stream, which many modules read, and "layer-width" for those with which one layer goes on.
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
        residual: of a width, the residual stream or the part of it that lies in the layer; None elsewhere.
        crossing: paths of those producers that read what the encoder has written.
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
    residual: Stream | None = None
    crossing: tuple[str, ...] = ()

    @property
    def reader(self) -> str:
        """Path of the first reader: its input is where the units are measured."""
        return self.readers[0]

    @property
    def streams(self) -> bool:
        """Whether its units are coordinates of the residual stream."""
        return self.kind in STREAMS

    @property
    def measured(self) -> tuple[Site, ...]:
        """What its statistics are of: the site; of a stream each place where it is read, as a site of its own."""
        if self.residual is None:
            return (self,)
        return tuple(
            replace(self, name=place.name, readers=place.modules, residual=None)
            for place in self.residual.places
            if place.modules
        )

    @property
    def stack(self) -> str:
        """Which list of layers: "layers", or "decoder" for the decoder of an encoder-decoder."""
        return stack_of(self.name)

    @property
    def least(self) -> int:
        """The fewest units that can stay: none where the whole block can go."""
        return 0 if self.kind == "ffn" or self.attention is not None else 1
