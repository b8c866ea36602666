"""Pictures: decode files as a model's image processor takes them, and make batches of them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from infoprune.data.lazy import LazyBatches
from infoprune.data.media import MediaData
from infoprune.errors import InputError, reason_of
from infoprune.sources.item import MediaItem

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Modes of Pillow by the number of channels that a model reads."""

DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Modes of more than 8 bits, which Pillow would cut off at 255."""


def pillow() -> Any:  # noqa: ANN401
    """Import Pillow.

    Raises:
        InputError: It is not installed.
    """
    try:
        return import_module("PIL.Image")
    except ModuleNotFoundError:
        raise InputError("Pillow is not installed, expected it for pictures; run pip install pillow") from None


def open_picture(item: MediaItem, channels: int = 3) -> Image:
    """Decode a picture, turned as its EXIF data say, in 8 bits, with the channels that a model reads.

    Transparency is left out, as transformers' pipelines do; 16 bits are scaled to 8.

    Args:
        item: The picture.
        channels: 1 for grey, 3 for colours, 4 for colours and transparency.

    Raises:
        InputError: It is no picture, or damaged.
    """
    image, ops = pillow(), import_module("PIL.ImageOps")
    content = item.load()
    if not content:
        raise InputError(f"{item.name} is empty, expected a picture; remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            found = image.open(io.BytesIO(content))
            found.load()
            found = ops.exif_transpose(found)
    except Exception as error:  # every decoder of Pillow has errors of its own
        why = "no known format" if type(error).__name__ == "UnidentifiedImageError" else reason_of(error, 80)
        raise InputError(
            f"{item.name} cannot be read as a picture ({why}), expected an undamaged one; remove or replace it"
        ) from None
    if found.mode in DEEP:
        found = _in_8_bits(found)
    if found.mode == "P":  # palettes may hold transparency
        found = found.convert("RGBA")
    return found.convert(MODES.get(channels, "RGB"))  # type: ignore[no-any-return]


def _in_8_bits(picture: Any) -> Any:  # noqa: ANN401
    """Return a picture of more bits in 8: of 16 bits their upper half; of numbers from 0 to 1 their multiple of 255."""
    numpy: Any = import_module("numpy")
    values = numpy.nan_to_num(numpy.asarray(picture, dtype=numpy.float64))
    if picture.mode == "F" and values.max(initial=0) <= 1:
        values = values * 255
    elif values.max(initial=0) > 255 or picture.mode.startswith("I;16"):
        values = values / 257
    return pillow().fromarray(values.round().clip(0, 255).astype(numpy.uint8))


def picture_batches(
    data: MediaData,
    processor: Callable[..., Any],
    *,
    channels: int,
    batch_size: int,
    labels: Sequence[int] | Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> LazyBatches:
    """Make batches of pictures by the image processor of a model; the pictures are read when a batch is.

    Args:
        data: The pictures.
        processor: Image processor of the model.
        channels: Channels that the model reads.
        batch_size: Pictures per batch; the last batch may be smaller.
        labels: A target for each picture.

    Returns:
        Batches of ``pixel_values`` (pictures, channels, height, width), and ``labels`` where they are given.
    """

    def make(rows: Sequence[int]) -> dict[str, Tensor]:
        pictures = [open_picture(data.items[row], channels) for row in rows]
        batch = {"pixel_values": prepared(processor, pictures)}
        return batch if labels is None else {**batch, "labels": torch.tensor([labels[row] for row in rows])}

    starts = range(0, len(data), batch_size)
    return LazyBatches([range(start, min(start + batch_size, len(data))) for start in starts], make)


def prepared(processor: Callable[..., Any], pictures: Sequence[Image]) -> Tensor:
    """Return pictures as an image processor prepares them, (pictures, channels, height, width)."""
    numpy: Any = import_module("numpy")
    # Arrays with the order of their axes: a picture of 3 pixels in height would be taken for one of 3 channels.
    rows = [numpy.atleast_3d(numpy.asarray(each)) for each in pictures]
    return torch.as_tensor(processor(rows, return_tensors="pt", input_data_format="channels_last")["pixel_values"])


def check_pictures(data: MediaData, channels: int, progress: Callable[[int, int], None] | None = None) -> None:
    """Raise InputError where a picture cannot be read: before hours of work and not in the middle of it.

    Args:
        data: The pictures.
        channels: Channels that the model reads.
        progress: Called with (pictures done, pictures in total).
    """
    for done, item in enumerate(data.items, start=1):
        open_picture(item, channels)
        if progress is not None:
            progress(done, len(data))
