"""Token remapping: an embedding table with fewer rows than tokens, where dropped tokens read the row of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import VOCABULARY
from infoprune.structure.embeddings import ROWS, count_rows, replace_parameter
from infoprune.structure.offload import is_offloaded, present


def why_not(model: PreTrainedModel) -> str | None:
    """Return the reason why tokens of a model cannot be remapped; None where they can."""
    if count_rows(model) == 0:
        return "it reads no tokens"
    table: Any = model.get_input_embeddings()
    if model.config.is_encoder_decoder:
        return "it has a decoder, which generates tokens"
    if model.get_output_embeddings() is not None:
        return "it has an output layer over the same tokens"
    if model.config.get_text_config() is not model.config:
        return "its tokens are those of a model within it"
    sharing = (module for module in model.modules() if any(p is table.weight for p in module._parameters.values()))
    other = next((module for module in sharing if not isinstance(module, nn.Embedding)), None)
    return None if other is None else f"its embedding table is the weight of a {type(other).__name__} as well"


def rows_of_tokens(model: PreTrainedModel) -> Int[Tensor, " tokens"]:
    """Return the row of the embedding table that each token of a model reads."""
    table: Any = model.get_input_embeddings()
    found: Tensor = table._buffers.get(ROWS, torch.arange(count_rows(model)))
    return found.to("cpu", torch.long)


def table_of(model: PreTrainedModel) -> Float[Tensor, "rows n"]:
    """Return the embedding table, also of a model with offloaded weights."""
    table = model.get_input_embeddings()
    path = next(path for path, module in model.named_modules() if module is table)
    with present(model, path):
        weight: Any = table.weight
        return weight.detach().clone() if is_offloaded(model) else weight.detach()  # type: ignore[no-any-return]


def keep_rows(model: PreTrainedModel, kept: Sequence[int], new: Sequence[int]) -> None:
    """Keep some rows of the embedding table, in place.

    Args:
        model: Model whose tokens can be remapped (`why_not` returns None).
        kept: Rows that stay, ascending.
        new: For every former row, the index of the row among `kept` that is read in its place.
    """
    tables = list(_tables(model))
    old: Any = tables[0].weight
    cut = old.detach()[torch.tensor(tuple(kept), device=old.device)]
    replace_parameter(model, old, nn.Parameter(cut, requires_grad=old.requires_grad))
    for table in tables:
        table.num_embeddings = len(kept)
        if table.padding_idx is not None:
            table.padding_idx = new[table.padding_idx]


def read_rows(model: PreTrainedModel, rows: Int[Tensor, " tokens"]) -> None:
    """Make every token read the given row of the table, in place.

    The rows are a buffer of the table, which is saved with the weights.
    """
    if ROWS not in model.get_input_embeddings()._buffers:
        model.base_model.register_forward_pre_hook(_follow_resizing)
    for table in _tables(model):
        if ROWS not in table._buffers:
            table.register_forward_pre_hook(_look_up)
        table.register_buffer(ROWS, rows.to(table.weight.device, torch.int32))


def follow_padding(model: PreTrainedModel) -> None:
    """Make the padding index of every table, which gets no gradient, the row that the padding token reads, in place."""
    padding = model.config.pad_token_id
    for table in _tables(model):
        if table.padding_idx is not None and padding is not None:
            table.padding_idx = int(table.get_buffer(ROWS)[padding])


def table_paths(model: PreTrainedModel) -> list[str]:
    """Return the paths of all modules that look tokens up in the table."""
    tables = list(_tables(model))
    return [path for path, module in model.named_modules() if any(module is table for table in tables)]


def _tables(model: PreTrainedModel) -> Iterator[nn.Embedding]:
    """Return all modules that look tokens up in the table: T5 has two."""
    weight = model.get_input_embeddings().weight
    return (module for module in model.modules() if isinstance(module, nn.Embedding) and module.weight is weight)


def _look_up(table: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    tokens, *rest = args
    return table.get_buffer(ROWS).to(tokens.device)[tokens], *rest


def follow_resizing(model: PreTrainedModel) -> None:
    """Give tokens that `resize_token_embeddings` has added their rows, in place: it knows nothing of the remapping.

    It lengthens the table to a row for every token, so that a new token's row has its number; those of dropped tokens,
    which are new too, stay unread.

    Raises:
        InputError: It has shortened the table, to fewer rows than the tokens read.
    """
    table = model.get_input_embeddings()
    rows = table._buffers.get(ROWS)
    if not isinstance(rows, Tensor) or len(rows) == int(model.config.vocab_size):
        return
    tokens = int(model.config.vocab_size)
    new = torch.arange(min(len(rows), tokens), tokens, dtype=rows.dtype, device=rows.device)
    followed = torch.cat([rows[:tokens], new])
    if not followed.is_meta and int(followed.max()) >= count_rows(model):
        raise InputError(
            f"the embedding table was shortened to {count_rows(model)} rows, but the tokens of this model are remapped "
            f"to {int(followed.max()) + 1}; shorten the vocabulary of the original model, and prune again"
        )
    read_rows(model, followed)
    noted = vars(model.config).get("quantization_config")
    if isinstance(noted, dict) and VOCABULARY in noted.get("units", {}):  # so that save_pretrained keeps the new size
        noted["units"][VOCABULARY] = count_rows(model)


def _follow_resizing(model: nn.Module, _args: tuple[Any, ...]) -> None:
    follow_resizing(cast(PreTrainedModel, model))
