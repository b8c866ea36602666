"""Embeddings: the table with a row for every token, the output layer over the same tokens, and a cut of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from infoprune.errors import InputError

ROWS = "token_rows"
"""The table's buffer where tokens read the rows of others: for every token its row (`structure/stand_ins.py`)."""

# What generation must not say: a dropped token cannot be said anyway.
_BANNED = ("bad_words_ids", "begin_suppress_tokens", "suppress_tokens")
# What it must say, or rather would: without a token of it that has no meaning.
_WANTED = ("forced_decoder_ids", "sequence_bias")


def count_rows(model: PreTrainedModel) -> int:
    """Rows of a model's embedding table; 0 for a model that reads no tokens."""
    table = model.get_input_embeddings()
    return len(table.weight) if isinstance(table, nn.Embedding) else 0


def count_tokens(model: PreTrainedModel) -> int:
    """Tokens that a model reads: as many as its table has rows, or more where some read the row of another."""
    rows = vars(model.get_input_embeddings())["_buffers"].get(ROWS)
    return count_rows(model) if rows is None else len(rows)


def tokens_by_role(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Tokens that the model's configs name by number, as far as it has them, e.g. {"pad_token_id": (0,)}."""
    roles: dict[str, tuple[int, ...]] = {}
    for config in _configs(model):
        for name, value in vars(config).items():
            if name.endswith("_token_id") and value is not None:
                ids = tuple(value) if isinstance(value, (list, tuple)) else (value,)
                roles[name] = roles.get(name, ()) + tuple(i for i in ids if 0 <= i < count_tokens(model))
    return roles


def counts_positions_from_padding(model: PreTrainedModel) -> bool:
    """Whether positions are numbered from the padding token's number on, as in RoBERTa: it must not change."""
    table = model.get_input_embeddings()
    return any(
        isinstance(module, nn.Embedding) and module is not table and module.padding_idx is not None
        for module in model.modules()
    )


def cut_tokens(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Keeps some rows of the embedding table, in place; the kept tokens are numbered anew in the same order.

    The output layer of a language model, tied to the table or not, loses the same tokens. Sizes that modules and
    configs keep, and tokens that they name by number, are rewritten.

    Args:
        model: with an embedding table.
        kept: rows that stay, ascending.

    Raises:
        InputError: a token goes that the configs name, the output layer is over other tokens, or tokens read the rows
            of others already.
    """
    before = count_rows(model)
    if before < count_tokens(model):
        raise InputError(
            f"the {count_tokens(model):,} tokens of this model read {before:,} rows, expected a row for each; "
            "let the nearest rows stand in for what is dropped now, too (--dropped-tokens nearest)"
        )
    number = {old: new for new, old in enumerate(kept)}
    _check_roles(model, number)
    for old in _rows_of_tokens(model, before):
        rows = torch.tensor(tuple(kept), device=old.device)
        replace_parameter(model, old, nn.Parameter(old.detach()[rows], requires_grad=old.requires_grad))
    for name, buffer in list(model.named_buffers(recurse=False)):
        if buffer.shape[-1:] == (before,):  # a bias of the logits, in some encoder-decoders
            setattr(model, name, buffer[..., torch.tensor(tuple(kept), device=buffer.device)])
    for module in model.modules():
        _rewrite_sizes(module, before, number)
    for config in _configs(model):
        _rewrite_config(config, before, number)


def _check_roles(model: PreTrainedModel, number: dict[int, int]) -> None:
    for role, ids in tokens_by_role(model).items():
        gone = set(ids) - number.keys()
        if gone:
            raise InputError(f"the plan drops token {min(gone)}, this model's {role}; keep the tokens with a role")
    pad = tokens_by_role(model).get("pad_token_id", ())
    if counts_positions_from_padding(model) and any(number[i] != i for i in pad):
        raise InputError(
            f"this {model.config.model_type} numbers positions from its padding token {pad[0]} on, "
            "expected a plan that keeps every token before it"
        )
    for config in _configs(model):
        for name in _WANTED:
            if getattr(config, name, None):
                raise InputError(f"the generation config lists tokens by number in {name}; remove it before the cut")


def _rows_of_tokens(model: PreTrainedModel, tokens: int) -> list[nn.Parameter]:
    """The parameters with a row for every token, those that modules share once."""
    found: list[Any] = [model.get_input_embeddings().weight]
    if getattr(model.config, "share_encoder_decoder_embeddings", True) is False:
        raise InputError(
            "encoder and decoder have vocabularies of their own, expected one that they share; "
            "leave the vocabulary as it is (--sites)"
        )
    head = model.get_output_embeddings()
    if head is not None:
        if len(head.weight) != tokens:
            raise InputError(
                f"the output layer has {len(head.weight)} tokens and the embedding table {tokens}, expected the same; "
                "leave the vocabulary as it is (--sites)"
            )
        found += [parameter for parameter in (head.weight, getattr(head, "bias", None)) if parameter is not None]
    return list({id(parameter): parameter for parameter in found}.values())


def replace_parameter(model: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Puts one parameter in another's place in all modules that share it."""
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if parameter is old:
                setattr(module, name, new)


def _rewrite_sizes(module: nn.Module, tokens: int, number: dict[int, int]) -> None:
    if isinstance(module, nn.Embedding):
        module.num_embeddings = len(module.weight)
    elif isinstance(module, nn.Linear):
        module.out_features = len(module.weight)
    # copies of config fields, by which some models know padding or reshape their logits
    noted: dict[str, Any] = vars(module)
    if noted.get("vocab_size") == tokens:
        noted["vocab_size"] = len(number)
    if noted.get("padding_idx") in number:
        noted["padding_idx"] = number[noted["padding_idx"]]


def _configs(model: PreTrainedModel) -> list[PretrainedConfig | GenerationConfig]:
    generation = getattr(model, "generation_config", None)
    return [config for config in (model.config, generation) if config is not None]


def _rewrite_config(config: PretrainedConfig | GenerationConfig, tokens: int, number: dict[int, int]) -> None:
    for name, value in list(vars(config).items()):
        if name in ("vocab_size", "decoder_vocab_size") and value == tokens:
            setattr(config, name, len(number))
        if name.endswith("_token_id"):
            # a number beyond the table names no token of this model, before and after
            many = isinstance(value, (list, tuple))
            setattr(config, name, [number.get(i, i) for i in value] if many else number.get(value, value))
        if name in _BANNED and value:
            setattr(config, name, _still_banned(value, number) or None)


def _still_banned(banned: Sequence[int] | Sequence[Sequence[int]], number: dict[int, int]) -> list[Any]:
    """Tokens, or sequences of tokens, that are all there."""
    found: list[Any] = []
    for item in banned:
        sequence = [item] if isinstance(item, int) else item
        if number.keys() >= set(sequence):
            found.append(number[item] if isinstance(item, int) else [number[i] for i in sequence])
    return found
