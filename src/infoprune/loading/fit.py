"""Fit: whether the weights in a folder have the shapes that its config implies, before any of them is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.files.weights import Shapes
from infoprune.loading.record import within_base
from infoprune.loading.sizes import Sizes
from infoprune.plan import VOCABULARY
from infoprune.structure.embeddings import count_rows

ROOM = 1 << 26
"""Numbers that a model may hold beyond those in its file: a new head, or tables that are computed."""
FEW = 1 << 20
"""Units that fill no memory; what is wrong with fewer is found by the sites themselves."""
PACKED = 16
"""Numbers that one number of a quantised file may stand for."""


def check_sizes(path: Path, stock: PreTrainedModel, sizes: Sizes, shapes: Shapes) -> None:
    """Raise InputError where pruned sizes are larger than anything in the weights: they would fill the memory.

    Args:
        path: Folder of the weights, for the messages.
        stock: Model of stock sizes.
        sizes: Sizes in the config.
        shapes: Shapes of the weights in the folder; empty where there are none.
    """
    if not shapes:
        return
    largest = max(FEW, *(size for shape in shapes.values() for size in shape))
    counts = dict(sizes.units)
    if VOCABULARY in counts:
        counts[VOCABULARY] = count_rows(stock)
    for name, count in counts.items():
        if count > largest:
            raise InputError(
                f"config.json in {path} gives {name} {count} units, expected at most {largest} with the weights beside "
                "it; restore both files from the same save_pretrained, or prune again"
            )


def check_fit(
    path: Path, model: PreTrainedModel, shapes: Shapes, renaming: Mapping[str, str], *, head: bool = True
) -> None:
    """Raise InputError where weights have other shapes than a config implies, or a model would be far larger than they.

    Args:
        path: Folder of the weights, for the messages.
        model: Model with the sizes of the config, on the meta device.
        shapes: Shapes of the weights in the folder by name.
        renaming: Names in the model of weights that have others in the folder, as from `new_names`.
        head: Whether the head has to fit too; otherwise it is replaced.
    """
    there = {renaming.get(name, name): shape for name, shape in shapes.items()}
    prefix = f"{model.base_model_prefix}."
    for name, tensor in model.state_dict().items():
        inner = within_base(model, name)
        if not head and inner == name and model.base_model is not model:
            continue
        found = next((there[each] for each in (name, inner, prefix + name) if each in there), None)
        if found is not None and found != tuple(tensor.shape):
            raise InputError(
                f"the weights in {path} have {name} of shape {found}, but config.json implies {tuple(tensor.shape)}; "
                "restore both files from the same save_pretrained"
            )
    held = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    most = ROOM + PACKED * sum(_product(shape) for shape in shapes.values())
    if held > most:
        raise InputError(
            f"config.json in {path} describes a model of {held:.3g} numbers, but its weights hold far fewer; restore "
            "both files from the same save_pretrained"
        )


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
