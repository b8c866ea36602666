"""Dataclasses that describe a family: strings and small numbers, no arithmetic, no model class."""

from dataclasses import dataclass

from infoprune.families.expert_table import Experts, Neurons


@dataclass(frozen=True)
class Rows:
    """Output rows of a linear module that belong to units; the module's shape gives the number of rows per unit.

    Args:
        module: Path of the module, relative to the layer.
        parts: One number for each part of a fused weight, top to bottom, in proportion to the rows that a unit owns
            there; within a part the units follow one another. (1,) is one matrix, or one whose units are interleaved
            (GPT-NeoX: query, key and value of a head side by side); (1, 1, 1) is query, key and value one below the
            other. A proportion may be "module:attribute".
        optional: Whether some models of the family do not have the module.
        shared: Numbers, or "module:attribute"s, whose product is the number of rows below the parts that belong to all
            units together, such as the one key and value that all queries have (multi-query attention); none mean 0.
    """

    module: str
    parts: tuple[int | str, ...] = (1,)
    optional: bool = False
    shared: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class Attribute:
    """Number that a module stores about its own size, to be rewritten after a cut.

    Args:
        module: Path of the module, relative to the layer.
        name: Name of the attribute; "config.<field>" is a field of the config that the module reads, and the module
            gets a copy of the config.
        each: How much every unit adds to it: a number, or "module:attribute".
        most: Whether it stays as it is while there are that many units, as the number of experts that a token reads.
    """

    module: str
    name: str
    each: int | str = 1
    most: bool = False


@dataclass(frozen=True)
class Setting:
    """Field of the model's config that holds a size, to be rewritten after a cut that is the same in every layer.

    Args:
        name: Name of the field; "text_config.<field>" is a field of a config within the model's.
        each: How much every unit adds to it: a number, or "module:attribute" relative to the layer.
        fixed: Whether the field is `each` itself, which a stock config would otherwise derive from the number of units.
        divides: Another field that has to be a multiple of this one in a stock config.
        fills: Another field that has to equal the number of all coordinates of the units in a stock config: in BERT all
            heads together have the size of the residual stream.
        most: Whether it stays as it is while there are that many units.
    """

    name: str
    each: int | str = 1
    fixed: bool = False
    divides: str | None = None
    fills: str | None = None
    most: bool = False


@dataclass(frozen=True)
class PositionBias:
    """Bias of the attention scores by position, with a column for every head, that all layers of a stack share.

    Args:
        module: Module, relative to the layer, that has it as an argument.
        table: Embedding with the columns, relative to the base model; None where the bias is zero or follows from a
            formula.
        passed_on: Whether the module returns the bias, after its output, and the next layer gets what it returns; else
            a module above the layers computes it for all of them.
        method: Method of the module that computes the bias of all heads from the table where it is given none.
        flag: Attribute of the module that says whether it computes the bias; without it the bias is zero.
        argument: Name of the argument.
        columns: Config field with the number of columns that a formula gives (ALiBi), where there is no table; the
            argument has one axis for the columns of all texts then, and not (texts, columns, ...).
    """

    module: str
    table: str | None
    passed_on: bool = False
    method: str | None = None
    flag: str | None = None
    argument: str = "position_bias"
    columns: str | None = None


@dataclass(frozen=True)
class SiteRow:
    """One type of structure in every layer of a stack; all paths are relative to the layer.

    Args:
        structure: Type of structure: "ffn" or "heads"; with grouped queries a unit of "heads" is a key/value head with
            all of its queries; "cross-heads" in a decoder that reads an encoder's output; "experts"; "expert-neurons"
            inside experts.
        producers: Rows that write the units.
        readers: Linear modules whose input columns are the units; for experts the module that holds them.
        stream: Module whose first input is the residual that is added to the reader's output; None where a norm or
            another branch lies in between.
        unit_size: "module:attribute"s whose product is the number of the reader's input coordinates that a unit owns;
            none mean 1.
        attributes: Sizes to rewrite after a cut.
        attention: Module that is left out where no head stays: its first input are the tokens, and it returns a pair
            (a triple where it passes on a bias) that begins with the reader's output, or with the reader's input where
            the reader lies outside. None where at least one head has to stay. Neurons can always all be removed.
        config: Fields of a stock config with the number of units in *every* layer; none where it has no such field, so
            that plain transformers cannot load a cut model.
        crossing: Those producers of a decoder that read the encoder's output.
        refit: Those producers that a repair can re-fit, since they are called once in a pass; None means all.
        bias: Position bias of the heads that the layers share, or None.
        vectors: Parameters outside linear modules whose first axis belongs to the units, in their order, such as a norm
            or a bias of queries; those that a model does not have are ignored.
        optional: Whether some layers of a model do not have the reader, and so no such units.
        experts: Experts and their router, or None.
        neurons: Neurons inside the experts, if these are the units and not whole experts.
        scale: Parameter with a factor for every coordinate of the stream, by which the reader's output is multiplied
            before it is added to the residual (layer scale); "config.<field>" is one factor for all; or None.
        requires: Config fields that must have a value for the row to hold; where they differ, another row of the same
            type describes the layers.
        on_request: Whether the units are cut only where the structure is named.
    """

    structure: str
    producers: tuple[Rows, ...]
    readers: tuple[str, ...]
    stream: str | None
    unit_size: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    attention: str | None = None
    config: tuple[Setting, ...] = ()
    crossing: tuple[str, ...] = ()
    refit: tuple[str, ...] | None = None
    bias: PositionBias | None = None
    vectors: tuple[str, ...] = ()
    optional: bool = False
    experts: Experts | None = None
    neurons: Neurons | None = None
    scale: str | None = None
    requires: tuple[tuple[str, object], ...] = ()
    on_request: bool = False


@dataclass(frozen=True)
class Norms:
    """Norms of the residual stream in a stack.

    In this order, the n-th read point of the stream reads the n-th norm, in pre-norm and in post-norm models.

    Args:
        below: Norms before the layers, relative to the base model.
        within: Norms of every layer, relative to the layer, in the order in which they are computed.
        above: Norms after the layers, relative to the base model.
    """

    below: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    above: tuple[str, ...] = ()


@dataclass(frozen=True)
class HiddenSize:
    """Residual stream, whose coordinates are the units of the site "hidden-size".

    Inside the layers the rows of the other sites describe it: their producers read the stream, and their readers write
    to it.

    Args:
        tables: Modules whose own parameters are vectors of the stream, relative to the base model: embeddings, learnt
            tokens, and convolutions, whose output channels are coordinates of the stream.
        norms: Norms of the stack, or of the encoder.
        heads: Linear modules that read the stream above the layers, relative to the whole model. Every model class has
            others; a path that is no linear module of the model is ignored.
        config: Fields of a stock config with the hidden size; none where it has no such field.
        decoder: Norms of the decoder of an encoder-decoder.
        projected: Linear module that projects the tables to the stream, or None; with it the tables and the norms below
            the layers are not part of the stream.
        tables_config: Fields that also hold the hidden size where nothing is projected.
        requires: Config fields that must have a value for the hidden size to be cut.
    """

    tables: tuple[str, ...]
    norms: Norms
    heads: tuple[str, ...]
    config: tuple[Setting, ...] = ()
    decoder: Norms | None = None
    projected: str | None = None
    tables_config: tuple[Setting, ...] = ()
    requires: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Stack:
    """Stack of layers, such as the decoder of an encoder-decoder.

    Args:
        layers: Path of the list of layers, relative to the base model.
        sites: One row per type of structure, in the order in which a layer computes them.
    """

    layers: str
    sites: tuple[SiteRow, ...]


@dataclass(frozen=True)
class Family:
    """Module paths of the units of one model type.

    Args:
        model_type: As in `config.model_type`.
        models: Well-known models of the family.
        task: Most common task of the family, as in `tasks/table.py`.
        layers: Path of the list of layers, relative to the base model; "*" means every entry of a list on the way.
        sites: One row per type of structure, in the order in which a layer computes them.
        shared: Whether every layer is applied several times in one pass.
        requires: Config fields that must have a value, or be absent, for the rows to hold.
        decoder: Decoder of an encoder-decoder, whose `layers` are the encoder's.
        top: Rows of the sites above the layers, with paths relative to the whole model; those that a model class does
            not have are ignored.
        hidden_size: Residual stream; None where its coordinates cannot be cut.
        since: First release of transformers in which modules have these names, where infoprune supports older ones.
        reads: What the inputs are: "texts", "pictures", "sound" or several of them.
        pictures: Tower that reads pictures, where `layers` read texts; it runs before them.
        embedding: Output of a model without a head that is its embedding; None where the last hidden states are pooled.
    """

    model_type: str
    models: str
    task: str
    layers: str
    sites: tuple[SiteRow, ...]
    shared: bool = False
    requires: tuple[tuple[str, object], ...] = ()
    decoder: Stack | None = None
    top: tuple[SiteRow, ...] = ()
    hidden_size: HiddenSize | None = None
    since: str | None = None
    reads: tuple[str, ...] = ("texts",)
    pictures: Stack | None = None
    embedding: str | None = None

    @property
    def stacks(self) -> dict[str, Stack]:
        """Stacks by the name that their sites begin with, in the order in which a pass runs them."""
        named = {"pictures": self.pictures, "layers": Stack(self.layers, self.sites), "decoder": self.decoder}
        return {name: stack for name, stack in named.items() if stack is not None}

    @property
    def reads_tokens(self) -> bool:
        """Whether texts are among the inputs."""
        return "texts" in self.reads

    @property
    def cuts_vocabulary(self) -> bool:
        """Whether tokens can be cut: not where they are those of a model within, or one is found by its number."""
        return self.reads == ("texts",) and self.embedding is None

    @property
    def structures(self) -> tuple[str, ...]:
        """Types of structure in the layers, which are cut by default."""
        rows = (row for stack in self.stacks.values() for row in stack.sites)
        return tuple(dict.fromkeys(row.structure for row in rows if not row.on_request))

    @property
    def more_structures(self) -> tuple[str, ...]:
        """Types of structure that are cut on request only."""
        layered = ("hidden-size-per-layer",) if self.decoder is None else ()
        rows = (row for stack in self.stacks.values() for row in stack.sites)
        return (
            *dict.fromkeys(row.structure for row in rows if row.on_request),
            *dict.fromkeys(row.structure for row in self.top),
            *(("hidden-size", *layered) if self.hidden_size is not None else ()),
        )
