"""Table sizes: whether batches fit each other's shapes and the tables of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.errors import InputError
from infoprune.measuring.measure import takes_sound
from infoprune.statistics.calibration import Batch
from infoprune.structure.embeddings import count_rows, count_tokens
from infoprune.structure.positions import position_limit

LIKE = {
    "input_ids": "attention_mask",
    "token_type_ids": "input_ids",
    "decoder_input_ids": "decoder_attention_mask",
}
"""Names with a number for every token, and the names that have the same shape."""


def check_table_sizes(
    model: PreTrainedModel, batches: Sequence[Batch], tokenizer: PreTrainedTokenizerBase | None = None
) -> None:
    """Raise InputError where the tensors of a batch do not fit each other, or hold what the model has no row for.

    Args:
        model: Model that is going to read them.
        batches: Tokenised inputs.
        tokenizer: Tokenizer that made them, for the message where it has more tokens than the model.
    """
    limits = _limits(model)
    if tokenizer is not None and limits.tokens is not None and len(tokenizer) > limits.tokens:
        _check_added(batches, tokenizer, limits.tokens)
    for number, batch in enumerate(batches, start=1):
        _check_shapes(batch, f"batch {number}")
        _check_sizes(batch, f"batch {number}", limits)


@dataclass(frozen=True)
class _Limits:
    """Sizes of the tables of a model; None where it has no such table."""

    tokens: int | None
    token_types: int | None
    positions: int | None


def _limits(model: PreTrainedModel) -> _Limits:
    types = [
        module.num_embeddings
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and path.endswith("token_type_embeddings")
    ]
    tokens = count_tokens(model) if count_rows(model) else None
    # The positions of an encoder of sound are columns of sound, not tokens.
    reads = model.get_decoder() if takes_sound(model.config) else model
    return _Limits(tokens, min(types, default=None), position_limit(reads))


def _check_shapes(batch: Batch, where: str) -> None:
    for name, like in LIKE.items():
        if name not in batch:
            continue
        shape = tuple(batch[name].shape)
        if len(shape) != 2:
            raise InputError(
                f"{name} of {where} has the shape {shape}, expected (inputs, tokens); call the tokenizer on a list of "
                "texts"
            )
        if like in batch and shape != tuple(batch[like].shape):
            raise InputError(
                f"{name} of {where} has the shape {shape} and {like} {tuple(batch[like].shape)}, expected the same; "
                "take both from one call of the tokenizer"
            )
    if "labels" in batch:
        inputs = len(next(iter(batch.values())))
        if batch["labels"].ndim == 0 or len(batch["labels"]) != inputs:
            raise InputError(
                f"labels of {where} have the shape {tuple(batch['labels'].shape)} for {inputs} inputs, expected one "
                "for each; leave the labels out, or pass all"
            )


def _check_sizes(batch: Batch, where: str, limits: _Limits) -> None:
    for name in ("input_ids", "decoder_input_ids"):
        if name not in batch:
            continue
        _check_numbers(batch[name], f"{name} of {where}", limits.tokens, "the embedding table has {:,} rows; {}")
        length = batch[name].shape[1]
        if limits.positions is not None and length > limits.positions:
            raise InputError(
                f"{name} of {where} have {length} tokens, expected at most the {limits.positions} positions of the "
                f"model; make the batches with max_length={limits.positions}"
            )
    if "token_type_ids" in batch:
        what = "the table of token types has {:,}; pass zeros, or leave them out"
        _check_numbers(batch["token_type_ids"], f"token_type_ids of {where}", limits.token_types, what)


def _check_added(batches: Sequence[Batch], tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Raise InputError where inputs hold a token that was added to the tokenizer and not to the model."""
    for batch in batches:
        for name in ("input_ids", "decoder_input_ids"):
            most = int(batch[name].max()) if name in batch and batch[name].numel() else 0
            if most >= rows:
                raise InputError(
                    f"the inputs hold the token {tokenizer.convert_ids_to_tokens(most)!r} ({most:,}), but the "
                    f"embedding table has {rows:,} rows for the {len(tokenizer):,} tokens of the tokenizer; call "
                    f"model.resize_token_embeddings({len(tokenizer)}) and save the model again"
                )


def _check_numbers(ids: Tensor, name: str, rows: int | None, what: str) -> None:
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise InputError(f"{name} are {ids.dtype}, expected integers; take them from the tokenizer")
    if rows is None or not ids.numel() or ids.is_meta:
        return
    least, most = int(ids.min()), int(ids.max())
    if least < 0:
        raise InputError(
            f"{name} hold {least}, expected 0 or more; -100 is for labels alone, so pass the padding token"
        )
    if most >= rows:
        remedy = f"call model.resize_token_embeddings(len(tokenizer)), at least {most + 1:,}, or take its own tokenizer"
        raise InputError(f"{name} hold {most:,}, but {what.format(rows, remedy)}")
