"""The vocabulary in which a family is described: strings only, no arithmetic and no import of a model class."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """A number that a module keeps about its own size, to be rewritten after a cut.

    Args:
        module: path of the module, relative to the layer.
        name: the attribute.
        counts: what it counts: "units" or "coordinates" (units times the size of a unit).
    """

    module: str
    name: str
    counts: str


@dataclass(frozen=True)
class SiteRow:
    """One kind of site, as it stands in every layer. All paths are relative to the layer.

    Args:
        kind: "ffn" or "heads".
        producers: linear modules whose output rows are the units.
        readers: linear modules whose input columns are the units.
        stream: the module whose first input is the reader's output plus the residual.
        refit: the producers that a repair re-fits as well: those whose output is used as it is or through an
            activation.
        unit_size: "module:attribute" that says how many coordinates a unit owns; None means one.
        attributes: sizes to rewrite after a cut.
        config: the config field that says the number of units in *every* layer; None where a stock config has no word
            for it, so that a cut model cannot be loaded by plain transformers.
    """

    kind: str
    producers: tuple[str, ...]
    readers: tuple[str, ...]
    stream: str
    refit: tuple[str, ...]
    unit_size: str | None = None
    attributes: tuple[Attribute, ...] = ()
    config: str | None = None


@dataclass(frozen=True)
class Family:
    """Where the units of one model_type live.

    Args:
        model_type: as in `config.model_type`.
        layers: path of the list of layers, relative to the base model.
        sites: one row per kind of site, in the order in which a layer computes them.
    """

    model_type: str
    layers: str
    sites: tuple[SiteRow, ...]
