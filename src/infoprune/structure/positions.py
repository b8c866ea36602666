"""Positions: how many tokens a model with a table of positions can read."""

from __future__ import annotations

from torch import nn


def position_limit(model: nn.Module) -> int | None:
    """Return the largest number of tokens of an input, by the tables of positions; None where there is no table.

    A table may begin with rows that no token reads: RoBERTa numbers positions from the padding token on, OPT and BART
    from 2. Models with relative or rotary positions have no table.

    Examples:
        >>> position_limit(model)
        512
    """
    rows = [
        module.num_embeddings - _unused(module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and _holds_positions(model, *path.rpartition(".")[::2])
    ]
    return min(rows, default=None)


def _holds_positions(model: nn.Module, holder: str, name: str) -> bool:
    """Return whether a table has a row for every position of a text; those beside patches are places in a picture."""
    if name == "position_embedding":
        return "patch_embedding" not in dict(model.get_submodule(holder).named_children())
    return name in ("wpe", "position_embeddings", "embed_positions")


def _unused(table: nn.Embedding) -> int:
    offset = vars(table).get("offset")
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1
