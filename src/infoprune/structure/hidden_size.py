"""Hidden size: the coordinates of the residual stream as one site of the whole model, or as a site of every layer."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from infoprune.families import Family, SiteRow
from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER, plan_of
from infoprune.structure.narrow import is_narrowed
from infoprune.structure.site import Site, Size
from infoprune.structure.slices import Slice
from infoprune.structure.stream import Layer, Stream, by_layer, follow


def hidden_size_of(
    model: PreTrainedModel, family: Family, layers: Sequence[Layer], top: Sequence[SiteRow], *, bare: bool = False
) -> Site | str:
    """Return the site "hidden-size", or the reason why the model has none.

    Args:
        model: Model of the family.
        family: Table of the model's family.
        layers: Layers of all stacks, bottom to top.
        top: Rows of the sites above the layers that this model class has.
        bare: As for `follow`.
    """
    stream = _followed(model, family, layers, top, bare=bare)
    if isinstance(stream, str) or family.hidden_size is None:
        return str(stream)
    fields = family.hidden_size.config
    if any(path.endswith(family.hidden_size.tables) for path in stream.tables):
        fields += family.hidden_size.tables_config
    return _site(
        HIDDEN_SIZE, HIDDEN_SIZE, 0, stream, tuple(Size(field.name, 1) for field in fields), shared=family.shared
    )


def hidden_sizes_per_layer_of(
    model: PreTrainedModel, family: Family, layers: Sequence[Layer], top: Sequence[SiteRow], *, bare: bool = False
) -> tuple[Site, ...] | str:
    """Return the sites "hidden-size-per-layer", one per layer, bottom to top, or the reason why there are none.

    A layer may keep a subset of the coordinates of the layer below: the stream gets narrower from layer to layer, and
    the residual connection stays an index. The tables below the layers have the coordinates of the first layer, and the
    readers above the layers those of the last.

    Args:
        model: Model of the family.
        family: Table of the model's family.
        layers: Layers of all stacks, bottom to top.
        top: Rows of the sites above the layers that this model class has.
        bare: As for `follow`.
    """
    if family.decoder is not None:
        return "every layer of its decoder reads the encoder's output"
    stream = _followed(model, family, layers, top, bare=bare)
    if isinstance(stream, str) or family.hidden_size is None:
        return str(stream)
    if stream.tied:
        return f"{stream.tied[0]} is tied to the embeddings, so the first and the last layer need the same hidden size"
    plan = plan_of(model)
    if plan is not None and HIDDEN_SIZE in plan.kept:
        return "its hidden size was cut before; start from the original model"
    base = "" if model.base_model is model else model.base_model_prefix + "."
    parts = by_layer(stream, layers, [base + path for path in family.hidden_size.norms.above])
    return tuple(
        _site(f"{layer.name}.{HIDDEN_SIZE}", HIDDEN_SIZE_PER_LAYER, index, part, (), shared=family.shared)
        for index, (layer, part) in enumerate(zip(layers, parts, strict=True))
    )


def _followed(
    model: PreTrainedModel, family: Family, layers: Sequence[Layer], top: Sequence[SiteRow], *, bare: bool
) -> Stream | str:
    if family.hidden_size is None:
        return "the table of its family does not describe the residual stream"
    if is_narrowed(model):
        return "its layers already have hidden sizes of their own; start from the original model"
    return follow(model, family, family.hidden_size, layers, top, bare=bare)


def _site(name: str, structure: str, layer: int, stream: Stream, config: tuple[Size, ...], *, shared: bool) -> Site:
    return Site(
        name=name,
        structure=structure,
        layer=layer,
        units=stream.hidden_size,
        size=1,
        producers=tuple(Slice(path, (1,)) for path in stream.writers),
        readers=stream.readers,
        stream=None,
        refit=(),
        attributes=(),
        attention=None,
        config=config,
        shared=shared,
        residual=stream,
    )
