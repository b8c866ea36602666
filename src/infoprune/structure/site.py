"""Site: a set of units of one type in one layer. Paths and sizes, no arithmetic on weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from infoprune.plan import STREAMS
from infoprune.structure.slices import Slice
from infoprune.structure.stream import Stream, stack_of

INDEX_BYTES = 8
"""Bytes of an entry of an index."""


@dataclass(frozen=True)
class Tie:
    """Another field of the config and its present value."""

    name: str
    value: int


@dataclass(frozen=True)
class Size:
    """Number that depends on the number of units: an attribute of a module or a field of the config.

    Args:
        name: Name of the attribute or field.
        each: How much every unit adds to it.
        module: Path of the module; None for the model's config.
        fixed: Whether it is `each` for any number of units.
        most: Largest value, or None.
        divides: Field that has to be a multiple of it in a stock config, or None.
        fills: Field that has to equal the number of all coordinates of the units in a stock config, or None.
    """

    name: str
    each: int
    module: str | None = None
    fixed: bool = False
    divides: Tie | None = None
    fills: Tie | None = None
    most: int | None = None

    def of(self, units: int) -> int:
        """Return its value for a number of units."""
        value = self.each if self.fixed else self.each * units
        return value if self.most is None else min(value, self.most)


@dataclass(frozen=True)
class SharedBias:
    """Position bias of the attention scores, with a column for every head, that all layers of a stack share.

    Args:
        module: Path of the module that gets it as an argument, and has the index of its own columns.
        table: Path of the embedding with the columns; None where the bias is zero or follows from a formula.
        columns: Number of columns, one for each head of the dense model; 0 where the bias is zero.
        indexed: Whether the module has an index already.
        receivers: Paths of such modules in all layers of the stack, where each passes the bias on to the next; empty
            where a module above the layers gives it to all.
        method: Name of the method that computes it in such a module, or None.
        flag: Name of the attribute of such a module that says whether it has the table, or None.
        argument: Name of the argument.
    """

    module: str
    table: str | None
    columns: int
    indexed: bool
    receivers: tuple[str, ...] = ()
    method: str | None = None
    flag: str | None = None
    argument: str = "position_bias"


@dataclass(frozen=True)
class Routing:
    """How the tokens of a layer reach its experts.

    Args:
        router: Path of the module with a row of logits for every expert.
        parameters: Names of the parameters with an entry for every expert along their first axis, the router's first.
        outputs: Names of those that write an expert's answer, each with the axis of its coordinates in the entry of one
            expert.
        chosen: Number of experts that a token reads.
        normalised: Whether their weights, the largest of a softmax over all experts, are divided by their sum.
        factor: Number by which the weights are multiplied then.
    """

    router: str
    parameters: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]
    chosen: int
    normalised: bool
    factor: float


@dataclass(frozen=True)
class ExpertNeurons:
    """Where the neurons inside the experts of a layer lie, in parameters whose first axis counts the experts.

    Args:
        experts: Number of experts.
        written: Entries of the parameters that write them, each with the axis of the neurons in the entry of one
            expert.
        read: Name of the parameter that reads them, and that axis.
    """

    experts: int
    written: tuple[tuple[Slice, int], ...]
    read: tuple[str, int]

    @property
    def entries(self) -> tuple[tuple[Slice, int], ...]:
        """Entries of all parameters with neurons."""
        path, axis = self.read
        return (*self.written, (Slice(path, (1,)), axis))


@dataclass(frozen=True)
class Site:
    """Set of units that some modules produce and one module reads.

    Args:
        name: Name, unique within the model, e.g. "layers.3.ffn"; "decoder.3.ffn" in an encoder-decoder's decoder,
            "pictures.3.ffn" in the tower of a model of texts that reads pictures.
        structure: Type of structure: "ffn", "heads" or "cross-heads"; "pooler" above the layers; "hidden-size" for the
            coordinates of the residual stream, which many modules read; "hidden-size-per-layer" for those that one
            layer keeps; "experts" for feed-forward networks among which a router chooses; "expert-neurons" for the
            neurons inside them, where a unit is one neuron of every expert.
        layer: Index of the layer, 0 at the bottom of its stack.
        units: Number of units that the model has now.
        size: Coordinates of the reader's input that a unit owns (1 for a neuron, the head size for a head, the size of
            all of its query heads for a key/value group).
        producers: Rows of linear modules that write the units.
        readers: Paths of the linear modules whose input columns are the units; for experts of the module that holds
            them.
        stream: Path of a module whose first input is the residual that is added to the reader's output, or None.
        refit: Producers that a repair re-fits too.
        attributes: Sizes that modules store about themselves.
        attention: Path of the module that is left out where no head stays; None where there is none, or it has to stay.
        config: Fields that give `units` for all layers at once; empty where a stock config has no such field.
        shared: Whether the layer is applied several times in one pass.
        residual: For a hidden size, the residual stream or the part of it that lies in the layer; None elsewhere.
        crossing: Paths of those producers that read the encoder's output.
        bias: For heads, the position bias that their layer shares with others; None where there is none.
        vectors: Paths of parameters outside linear modules whose first axis belongs to the units.
        routing: For experts and the neurons inside them, how tokens reach the experts; None elsewhere.
        neurons: For neurons inside experts, where they lie; None elsewhere.
        expert: Number of the expert, where statistics of its neurons alone are collected; else None.
        scale: Path of the parameter by which the reader's output is multiplied before it is added to the residual, or
            one factor for all coordinates; None where it is added as it is.
    """

    name: str
    structure: str
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
    bias: SharedBias | None = None
    vectors: tuple[str, ...] = ()
    routing: Routing | None = None
    scale: str | float | None = None
    neurons: ExpertNeurons | None = None
    expert: int | None = None

    @property
    def reader(self) -> str:
        """Path of the first reader, at whose input the units are measured."""
        return self.readers[0]

    @property
    def linears(self) -> tuple[str, ...]:
        """Paths of the linear modules that lose rows or columns with a unit."""
        return () if self.routing is not None else (*(producer.module for producer in self.producers), *self.readers)

    @property
    def cut_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that get smaller with a cut."""
        if self.neurons is not None:
            return tuple(rows.module for rows, _ in self.neurons.entries)
        return tuple(f"{path}.weight" for path in self.linears) + (self.routing.parameters if self.routing else ())

    @property
    def whole_experts(self) -> bool:
        """Whether the units are experts, and not neurons inside them."""
        return self.routing is not None and self.neurons is None

    @property
    def streams(self) -> bool:
        """Whether the units are coordinates of the residual stream."""
        return self.structure in STREAMS

    @property
    def needs_multiples(self) -> bool:
        """Whether the number of units has to be a round one.

        Kernels that multiply tokens with their experts take no other number of neurons (PyTorch's need strides of 16
        bytes), and others are slow where the hidden size is none, since it is in all matrices.
        """
        return self.streams or self.neurons is not None

    @property
    def measured(self) -> tuple[Site, ...]:
        """Sites for which statistics are collected: this one; one per read point where it is a hidden size.

        Of neurons inside experts one per expert.
        """
        if self.neurons is not None and self.expert is None:
            return tuple(replace(self, name=f"{self.name}.{e}", expert=e) for e in range(self.neurons.experts))
        if self.residual is None:
            return (self,)
        return tuple(
            replace(self, name=point.name, readers=point.modules, residual=None)
            for point in self.residual.read_points
            if point.modules
        )

    @property
    def stack(self) -> str:
        """Stack of the layer: "layers", "decoder" in an encoder-decoder, or "pictures" beside a stack for texts."""
        return stack_of(self.name)

    @property
    def index_bytes(self) -> int:
        """Bytes for every unit that is left, of an index that the first cut adds to the model."""
        return 0 if self.bias is None or self.bias.columns == 0 or self.bias.indexed else INDEX_BYTES

    @property
    def least(self) -> int:
        """Fewest units that can stay: 0 where the whole block can be removed."""
        return 0 if self.structure == "ffn" or self.attention is not None else 1
