"""Padding: classifiers that find the end of a text by its padding, and the token with which it is padded."""

from __future__ import annotations

import inspect
import warnings

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.batches import padding_token
from infoprune.errors import InputError
from infoprune.statistics.calibration import Batch


def finds_end_by_padding(model: PreTrainedModel) -> bool:
    """Return whether a model classifies a text by its last token, which it finds by `config.pad_token_id`.

    The classes of decoders do, each in its own forward; no field of a config says so.
    """
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return False
    forward = inspect.unwrap(type(model).forward)
    return not model.config.is_encoder_decoder and "pad_token_id" in forward.__code__.co_names


def use_padding_of(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Let a model that finds the end of a text by its padding know, in its config, the token with which it is padded.

    A config that names another token, or none, would make its answers depend on what is in the same batch.
    """
    if not finds_end_by_padding(model):
        return
    pad, named = padding_token(tokenizer), model.config.pad_token_id
    if pad != named:
        warnings.warn(
            f"config.json names {'no token' if named is None else f'token {named}'} as padding and the tokenizer pads "
            f"with {pad} ({tokenizer.convert_ids_to_tokens(pad)}): {pad} is used, and named in what is saved",
            stacklevel=3,
        )
        model.config.pad_token_id = pad


def check_padding(model: PreTrainedModel, batch: Batch) -> None:
    """Raise InputError where the model would take a padding token for the end of a text."""
    if "input_ids" not in batch or not finds_end_by_padding(model):
        return
    ids, pad = batch["input_ids"], model.config.pad_token_id
    mask = batch.get("attention_mask", torch.ones_like(ids))
    ends = [0, -1]  # within a text a mask may hide other tokens
    hidden = ids[:, ends][mask[:, ends] == 0].tolist()
    used = str(hidden[0]) if hidden else "tokenizer.pad_token_id"
    if (pad is None and len(ids) > 1) or any(token != pad for token in hidden):
        raise InputError(
            f"{type(model).__name__} finds the end of a text by config.pad_token_id, which is {pad}, expected the "
            f"token that pads these inputs; set model.config.pad_token_id = {used}"
        )
