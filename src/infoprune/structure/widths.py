"""Widths: the coordinates of the residual stream as a site of the whole model, or as a site of every layer."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from infoprune.families import Family, SiteRow
from infoprune.plan import LAYER_WIDTH, WIDTH, plan_of
from infoprune.structure.narrow import is_narrowed
from infoprune.structure.site import Site, Size
from infoprune.structure.slices import Slice
from infoprune.structure.stream import Layer, Stream, by_layer, follow


def width_of(model: PreTrainedModel, family: Family, layers: Sequence[Layer], top: Sequence[SiteRow]) -> Site | str:
    """The site "width", or the reason why there is none.

    Args:
        model: of the family.
        family: that it is of.
        layers: of all stacks, bottom to top.
        top: the sites above the layers that this class of model has.
    """
    stream = _followed(model, family, layers, top)
    if isinstance(stream, str) or family.width is None:
        return str(stream)
    fields = family.width.config
    if any(path.endswith(family.width.tables) for path in stream.tables):
        fields += family.width.tables_config
    return _site(WIDTH, WIDTH, 0, stream, tuple(Size(field.name, 1) for field in fields), shared=family.shared)


def layer_widths_of(
    model: PreTrainedModel, family: Family, layers: Sequence[Layer], top: Sequence[SiteRow]
) -> tuple[Site, ...] | str:
    """The sites "layer-width", one for every layer, bottom to top, or the reason why there are none.

    A layer may go on with some of the coordinates that it is given, and so do all above it: the stream is narrowed on
    its way up, and the residual connection stays an index. The vectors that are tables below the layers have the
    coordinates of the first layer, what reads the stream above them those of the last.

    Args:
        model: of the family.
        family: that it is of.
        layers: of all stacks, bottom to top.
        top: the sites above the layers that this class of model has.
    """
    if family.decoder is not None:
        return "what its encoder writes is read by every layer of the decoder"
    stream = _followed(model, family, layers, top)
    if isinstance(stream, str) or family.width is None:
        return str(stream)
    if stream.tied:
        return f"{stream.tied[0]} is tied to the embeddings, so that the first layer and the last are as wide"
    plan = plan_of(model)
    if plan is not None and WIDTH in plan.kept:
        return "its width was cut before; start from the dense model"
    base = "" if model.base_model is model else model.base_model_prefix + "."
    parts = by_layer(stream, layers, [base + path for path in family.width.norms.above])
    return tuple(
        _site(f"{layer.name}.{WIDTH}", LAYER_WIDTH, index, part, (), shared=family.shared)
        for index, (layer, part) in enumerate(zip(layers, parts, strict=True))
    )


def _followed(model: PreTrainedModel, family: Family, layers: Sequence[Layer], top: Sequence[SiteRow]) -> Stream | str:
    if family.width is None:
        return "the table does not say where its residual stream goes"
    if is_narrowed(model):
        return "its layers have widths of their own by now; start from the dense model"
    return follow(model, family, family.width, layers, top)


def _site(name: str, kind: str, layer: int, stream: Stream, config: tuple[Size, ...], *, shared: bool) -> Site:
    return Site(
        name=name,
        kind=kind,
        layer=layer,
        units=stream.width,
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
