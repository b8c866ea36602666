"""The vocabulary in which a family is described: strings and small numbers, no arithmetic, no model class."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """Output rows of a linear module that belong to units. How many rows a unit owns follows from the module's shape.

    Args:
        module: path of the module, relative to the layer.
        parts: one number for each part of a fused weight, bottom to top, in proportion to the rows that a unit owns
            there; in every part the units follow one another. (1,) is one matrix, or one whose units are interleaved
            (GPT-NeoX: query, key and value of a head side by side); (1, 1, 1) is query, key and value one below the
            other. A proportion may be "module:attribute".
        optional: not in every model of the family.
    """

    module: str
    parts: tuple[int | str, ...] = (1,)
    optional: bool = False


@dataclass(frozen=True)
class Attribute:
    """A number that a module keeps about its own size, to be rewritten after a cut.

    Args:
        module: path of the module, relative to the layer.
        name: the attribute; "config.<field>" is a field of the config that the module looks at, of which it gets a
            copy of its own.
        each: what it counts for every unit: a number, or "module:attribute".
    """

    module: str
    name: str
    each: int | str = 1


@dataclass(frozen=True)
class Setting:
    """A field of the model's config that says a size, to be rewritten after a cut that is the same in every layer.

    Args:
        name: the field.
        each: what it counts for every unit: a number, or "module:attribute" relative to the layer.
        fixed: the field says `each` itself, which a stock config would otherwise derive from the number of units.
        divides: another field, of which a stock config wants this one to be a divisor.
        fills: another field, which a stock config wants to be the number of all coordinates that the units own: in BERT
            the heads together are as wide as the residual stream.
    """

    name: str
    each: int | str = 1
    fixed: bool = False
    divides: str | None = None
    fills: str | None = None


@dataclass(frozen=True)
class SiteRow:
    """One kind of site, as it stands in every layer. All paths are relative to the layer.

    Args:
        kind: "ffn" or "heads"; with grouped queries a unit of "heads" is a key/value head with all of its queries;
            "cross-heads" of a decoder that reads an encoder.
        producers: what writes the units.
        readers: linear modules whose input columns are the units.
        stream: a module whose first input is the residual that the reader's output is added to; None where something
            stands in between (a norm, or another branch).
        unit_size: "module:attribute"s whose product says how many coordinates of the reader a unit owns; none mean one.
        attributes: sizes to rewrite after a cut.
        attention: the module that a layer can do without where no head stays: its first input are the tokens, and it
            returns a pair, the first of which is the reader's output, or the reader's input. None where one head at
            least has to stay; neurons can all go.
        config: the fields of a stock config that say the number of units in *every* layer; none where it has no word
            for it, so that a cut model cannot be loaded by plain transformers.
        crossing: those producers in a decoder that read what the encoder has written.
        refit: those producers that a repair can re-fit, since they are called once in a pass; None means all.
    """

    kind: str
    producers: tuple[Rows, ...]
    readers: tuple[str, ...]
    stream: str | None
    unit_size: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    attention: str | None = None
    config: tuple[Setting, ...] = ()
    crossing: tuple[str, ...] = ()
    refit: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Norms:
    """The norms that the residual stream passes on its way through a stack.

    In this order the n-th of them writes what is read at the n-th place, in pre-norm and in post-norm models.

    Args:
        below: before the layers, relative to the base model.
        within: of every layer, relative to it, in the order in which they are computed.
        above: after the layers, relative to the base model.
    """

    below: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    above: tuple[str, ...] = ()


@dataclass(frozen=True)
class Width:
    """The residual stream, whose coordinates are the units of the site "width".

    Inside the layers the other rows say the rest: what produces their units reads the stream, and their readers write
    to it.

    Args:
        tables: modules whose own parameters are vectors of the stream: embeddings, and tokens that are parameters. The
            output channels of a convolution are such vectors too. Relative to the base model.
        norms: of the stack, or of the encoder.
        heads: linear modules that read the stream above the layers, relative to the whole model. Each class of model
            has other ones; a name that is none of its linear modules is passed over.
        config: the fields of a stock config that say the width; none where it has no word for it.
        decoder: norms of the decoder of an encoder-decoder.
        projected: a linear module that takes the tables to the stream, where there is one; the tables and the norms
            below the layers then are not part of it.
        tables_config: fields that say the width too where nothing is projected.
        requires: config fields that must have a value for the width to be cut.
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
    """The decoder of an encoder-decoder.

    Args:
        layers: path of its list of layers, relative to the base model.
        sites: one row per kind of site, in the order in which a layer computes them.
    """

    layers: str
    sites: tuple[SiteRow, ...]


@dataclass(frozen=True)
class Family:
    """Where the units of one model_type live.

    Args:
        model_type: as in `config.model_type`.
        models: what people know it by.
        task: what it is used for most, as in `tasks/table.py`.
        layers: path of the list of layers, relative to the base model; "*" stands for every entry of a list on the way.
        sites: one row per kind of site, in the order in which a layer computes them.
        shared: every layer is applied several times in one pass.
        requires: config fields that must have a value for the rows to hold.
        decoder: the second list of layers of an encoder-decoder, whose first is the encoder's.
        top: sites above the layers, with paths relative to the whole model; those that a class of model has not are
            passed over.
        width: the residual stream; None where its coordinates cannot be cut.
        since: the release of transformers from which on modules have these names, where infoprune supports older ones.
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
    width: Width | None = None
    since: str | None = None

    @property
    def stacks(self) -> dict[str, Stack]:
        """Lists of layers by the name that their sites begin with."""
        first = {"layers": Stack(self.layers, self.sites)}
        return first if self.decoder is None else {**first, "decoder": self.decoder}

    @property
    def reads_tokens(self) -> bool:
        """Whether the inputs are texts, not pictures or sound."""
        return self.task not in ("image-classification", "speech-recognition")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of site that there are in the layers: those that are cut where nothing is said."""
        return tuple(dict.fromkeys(row.kind for stack in self.stacks.values() for row in stack.sites))

    @property
    def more_kinds(self) -> tuple[str, ...]:
        """Kinds of site that are cut only where they are asked for."""
        layered = ("layer-width",) if self.decoder is None else ()
        return (*dict.fromkeys(row.kind for row in self.top), *(("width", *layered) if self.width is not None else ()))
