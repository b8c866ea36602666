"""Embeddings: the embedding table, the output layer over the same tokens, and the removal of tokens from both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from infoprune.errors import InputError

ROWS = "token_rows"
"""Name of the table's buffer with the row of every token, where tokens are remapped (see `token_remapping.py`)."""

# Tokens that generation must not output: it cannot output a dropped token anyway.
_FORBIDDEN = ("bad_words_ids", "begin_suppress_tokens", "suppress_tokens")
# Tokens that generation must output or prefer: without one of its tokens such an entry has no meaning.
_REQUIRED = ("forced_decoder_ids", "sequence_bias")


def count_rows(model: PreTrainedModel) -> int:
    """Count the rows of a model's embedding table; 0 for a model that reads no tokens."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:  # of sound waves
        return 0
    return len(table.weight) if isinstance(table, nn.Embedding) else 0


def count_tokens(model: PreTrainedModel) -> int:
    """Count the tokens that a model reads: one per row of its table, or more where tokens are remapped."""
    if count_rows(model) == 0:
        return 0
    rows = vars(model.get_input_embeddings())["_buffers"].get(ROWS)
    return count_rows(model) if rows is None else len(rows)


def is_remapped(model: PreTrainedModel) -> bool:
    """Return whether tokens of a model read the rows of others."""
    return count_rows(model) > 0 and ROWS in vars(model.get_input_embeddings())["_buffers"]


def tokens_by_role(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Return the special tokens that the model's configs name and its table has, e.g. {"pad_token_id": (0,)}."""
    roles: dict[str, tuple[int, ...]] = {}
    for config in _configs(model):
        for name, value in vars(config).items():
            if name.endswith("_token_id") and value is not None:
                ids = tuple(value) if isinstance(value, (list, tuple)) else (value,)
                roles[name] = roles.get(name, ()) + tuple(i for i in ids if 0 <= i < count_tokens(model))
    return roles


def counts_positions_from_padding(model: PreTrainedModel) -> bool:
    """Return whether positions start from the padding token's id, as in RoBERTa: this id must not change then."""
    table = model.get_input_embeddings()
    return any(
        isinstance(module, nn.Embedding) and module is not table and module.padding_idx is not None
        for module in model.modules()
    )


def cut_tokens(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Keep some rows of the embedding table, in place; the kept tokens get new ids in the same order.

    The output layer of a language model, tied to the table or not, loses the same tokens. The sizes that modules and
    configs store, and the token ids that they name, are rewritten.

    Args:
        model: Model with an embedding table.
        kept: Rows that stay, ascending.

    Raises:
        InputError: If a token is dropped that the configs name, if the output layer has other tokens, or if an earlier
            cut has remapped tokens.
    """
    before = count_rows(model)
    if before < count_tokens(model):
        raise InputError(
            f"the {count_tokens(model):,} tokens of this model read {before:,} rows, expected one row per token; "
            "an earlier cut has remapped tokens, so remap here too: pass `dropped_tokens=remap`"
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
            raise InputError(f"the plan drops token {min(gone)}, this model's {role}; keep the special tokens")
    pad = tokens_by_role(model).get("pad_token_id", ())
    if counts_positions_from_padding(model) and any(number[i] != i for i in pad):
        raise InputError(
            f"this {model.config.model_type} numbers positions from its padding token {pad[0]} on, "
            "expected a plan that keeps every token before it"
        )
    for config in _configs(model):
        for name in _REQUIRED:
            if getattr(config, name, None):
                raise InputError(f"the generation config lists tokens by number in {name}; remove it before the cut")


def _rows_of_tokens(model: PreTrainedModel, tokens: int) -> list[nn.Parameter]:
    """Return the parameters with a row for every token; a parameter that modules share is returned once."""
    found: list[Any] = [model.get_input_embeddings().weight]
    if getattr(model.config, "share_encoder_decoder_embeddings", True) is False:
        raise InputError(
            "encoder and decoder have vocabularies of their own, expected one that they share; "
            "leave vocabulary out of `structures`"
        )
    head = model.get_output_embeddings()
    if head is not None:
        if len(head.weight) != tokens:
            raise InputError(
                f"the output layer has {len(head.weight)} tokens and the embedding table {tokens}, expected the same; "
                "leave vocabulary out of `structures`"
            )
        found += [parameter for parameter in (head.weight, getattr(head, "bias", None)) if parameter is not None]
        for module in model.modules():  # ESM has the bias of the output layer beside it
            bias = module._parameters.get("bias") if any(child is head for child in module.children()) else None
            found += [bias] if bias is not None and bias.shape == (tokens,) else []
    return list({id(parameter): parameter for parameter in found}.values())


def replace_parameter(model: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Replace a parameter by another in all modules that share it."""
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if parameter is old:
                setattr(module, name, new)


def _rewrite_sizes(module: nn.Module, tokens: int, number: dict[int, int]) -> None:
    if isinstance(module, nn.Embedding):
        module.num_embeddings = len(module.weight)
    elif isinstance(module, nn.Linear):
        module.out_features = len(module.weight)
    # some modules keep a duplicate of a config field, for padding or to reshape their logits
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
            # an id beyond the table names no token of this model, before or after the cut
            many = isinstance(value, (list, tuple))
            setattr(config, name, [number.get(i, i) for i in value] if many else number.get(value, value))
        if name in _FORBIDDEN and value:
            setattr(config, name, _still_forbidden(value, number) or None)


def _still_forbidden(forbidden: Sequence[int] | Sequence[Sequence[int]], number: dict[int, int]) -> list[Any]:
    """Return those tokens, or sequences of tokens, that the cut model still has, with their new ids."""
    found: list[Any] = []
    for item in forbidden:
        sequence = [item] if isinstance(item, int) else item
        if number.keys() >= set(sequence):
            found.append(number[item] if isinstance(item, int) else [number[i] for i in sequence])
    return found
