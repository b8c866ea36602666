"""Built-in inputs: the texts and pictures on which a graph is compared where no data are given."""

from __future__ import annotations

import io
from functools import partial

from infoprune.data.media import Data, MediaData
from infoprune.data.pictures import pillow
from infoprune.data.texts import TextData
from infoprune.sources.item import MediaItem
from infoprune.tasks.table import Reads

TEXTS = (
    "Yes.",
    "A short sentence of no importance.",
    "The film is long, the plot is thin, and the music comes in whenever somebody has to be moved.",
    "Please tell me where my parcel is: it should have come on Tuesday, and nobody answers the phone.",
    "An open window lets in the noise of the street. " * 8,
)
"""From one word to a hundred."""

PICTURES = ("linear_gradient", "radial_gradient", "effect_mandelbrot")
"""Patterns that Pillow makes."""


def builtin(reads: Reads) -> Data:
    """Return the built-in inputs of models that read texts or pictures."""
    if reads == "texts":
        return TextData(TEXTS, None, None, "the built-in texts")
    items = tuple(MediaItem(f"the built-in picture {name}", partial(_pattern, name)) for name in PICTURES)
    return MediaData(items, None, None, "the built-in pictures")


def _pattern(name: str) -> bytes:
    image = pillow()
    if name == "effect_mandelbrot":
        made = image.effect_mandelbrot((160, 120), (-2, -1.5, 1, 1.5), 100)
    else:
        made = getattr(image, name)("L")
    file = io.BytesIO()
    made.save(file, "PNG")
    return file.getvalue()
