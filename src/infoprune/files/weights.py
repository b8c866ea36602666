"""Weights: names and shapes of the weights in a folder, read from the heads of the files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from infoprune.errors import InputError

Shapes = dict[str, tuple[int, ...]]

REPEATED = re.compile(r"(^|_)(?<!window_)(layers?|blocks|hidden_groups)$")
"""Fields of a config by which modules are repeated: there is at least one weight for each."""
LISTED = re.compile(r"^num_(labels|classes)$")
"""Fields of a config for which transformers makes a list as long."""
POSITIONS = re.compile(r"positions?(_embeddings)?$|^n_ctx$")
LEARNED = re.compile(r"position|wpe\b|embed_pos")
"""Names of weights that are tables of positions; without one, positions are computed and their number is free."""
SIZES = re.compile(r"(^|_)(heads|layers?|labels|groups|size|dim|embeddings|positions)$")
"""Fields of a config that count something."""
FREE = re.compile(r"^max_relative_positions$|window")
"""Fields of which some models take a negative number for none."""
SPARE = 8
"""Rows by which a table of positions may differ from the number of positions."""


def weight_names(path: Path) -> Iterator[str]:
    """Yield the names of the weights in a folder, without those of damaged files, which the loader reports."""
    yield from weight_shapes(path)


def weight_shapes(path: Path) -> Shapes:
    """Return the shapes of the weights in a folder by name, without those of damaged files."""
    shapes: Shapes = {}
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            continue
    return shapes


def check_counts(config: dict[str, Any], path: Path) -> None:
    """Raise InputError where a config repeats modules, classes or positions more often than its weights can have them.

    A damaged number would otherwise build a model, or a list, that fills the memory before its shapes are compared.

    Args:
        config: Contents of config.json.
        path: Folder with the weights.
    """
    shapes = weight_shapes(path)
    if not shapes:
        return
    largest = max((size for shape in shapes.values() for size in shape), default=1)
    limits = [(REPEATED, len(shapes)), (LISTED, largest)]
    if any(LEARNED.search(name) for name in shapes):
        limits.append((POSITIONS, largest + SPARE))
    for field, value in _numbers(config):
        name = " ".join(field.split())[:60]
        if value != value:
            raise InputError(
                f"{path / 'config.json'} has {name}=NaN, expected a number; restore the file, or save the model anew"
            )
        if value < 0 and SIZES.search(name) and not FREE.search(name):
            raise InputError(
                f"{path / 'config.json'} has {name}={str(value)[:20]}, expected 0 or more; restore the file, or save "
                "the model anew"
            )
        for pattern, limit in limits:
            if pattern.search(name) and value > limit:
                raise InputError(
                    f"{path / 'config.json'} has {name}={str(value)[:20]}, expected at most {limit} with the weights "
                    "beside it; restore the file, or save the model anew"
                )


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the names and values of all numbers in a config, at any depth."""
    left = [config]
    while left:
        for name, value in left.pop().items():
            if isinstance(value, dict):
                left.append(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield name, value
