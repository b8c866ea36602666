"""Targets: inputs with the correct outputs at their tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from infoprune.data.batches import IGNORED, label_ids, packed
from infoprune.data.texts import TextData
from infoprune.data.tokenizing import unchanged
from infoprune.errors import InputError

MASKED = 0.15
"""Share of the tokens that are masked for a masked language model."""


def with_tags(
    data: TextData, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, *, batch_size: int, max_length: int
) -> list[dict[str, Tensor]]:
    """Make batches for token classification; see `tagged` for the arguments and what is raised.

    Args:
        data: Texts with tags.
        tokenizer: Fast tokenizer.
        config: Config of the model.
        batch_size: Inputs per batch.
        max_length: Tokens at which an input is truncated.
    """
    return packed(tagged(data, tokenizer, config, max_length), tokenizer, batch_size)


def tagged(
    data: TextData, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, max_length: int
) -> dict[str, list[list[int]]]:
    """Tokenise texts with tags: the first token of every word is labelled with the tag of the word.

    Args:
        data: Texts of words separated by spaces, with labels of tags separated by spaces, one for each word.
        tokenizer: Fast tokenizer, which maps its tokens to words.
        config: Config of the model; its `label2id` has the tags.
        max_length: Tokens at which an input is truncated.

    Returns:
        The inputs of the model and `labels`, each with a row for every text.

    Raises:
        InputError: A row has not as many tags as words, or a tag is unknown to the model.
    """
    if not tokenizer.is_fast:
        raise InputError(
            "the tokenizer is slow, expected a fast one, which maps tokens to words; convert it (tokenizer.json), or "
            "leave the tags out"
        )
    words, tags = [text.split() for text in data.texts], [row.split() for row in data.labels or ()]
    for number, (row, given) in enumerate(zip(words, tags, strict=True), start=1):
        if len(row) != len(given):
            raise InputError(
                f"{data.source}: row {number} has {len(given)} tags for {len(row)} words, expected one for each; "
                "separate both by spaces"
            )
    try:
        known = iter(label_ids([tag for row in tags for tag in row], config))
    except InputError as error:
        raise InputError(f"{data.source}: {error}") from None
    numbers = [[next(known) for _ in row] for row in tags]
    with unchanged(tokenizer):
        encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
    labels = []
    for index, of in enumerate(numbers):
        positions = encoded.word_ids(index)
        before = [None, *positions[:-1]]
        labels.append(
            [IGNORED if word in (None, last) else of[word] for word, last in zip(positions, before, strict=True)]
        )
    return {**encoded, "labels": labels}


def with_texts(
    data: TextData, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, *, batch_size: int, max_length: int
) -> list[dict[str, Tensor]]:
    """Make batches for an encoder-decoder: the second text of every row is the target.

    Args:
        data: Texts with second texts.
        tokenizer: Tokenizer of the model; it may tokenise targets differently.
        config: Config of the model; it specifies the start token of the decoder.
        batch_size: Inputs per batch.
        max_length: Tokens at which source and target are truncated.
    """
    with unchanged(tokenizer):
        encoded = tokenizer(list(data.texts), truncation=True, max_length=max_length)
        written = tokenizer(text_target=list(data.pairs or ()), truncation=True, max_length=max_length)["input_ids"]
    start = config.decoder_start_token_id
    columns = {
        **encoded,
        "decoder_input_ids": [[start, *row[:-1]] for row in written],
        "decoder_attention_mask": [[1] * len(row) for row in written],
        "labels": written,
    }
    return packed(columns, tokenizer, batch_size)


def with_masks(
    batches: Sequence[dict[str, Tensor]], tokenizer: PreTrainedTokenizerBase, *, seed: int = 0
) -> list[dict[str, Tensor]]:
    """Mask 15 % of the tokens of batches, at least one per input, and label these with the original tokens.

    Raises:
        InputError: The tokenizer has no mask token.
    """
    if tokenizer.mask_token_id is None:
        raise InputError(
            "the tokenizer has no mask token, expected one for a masked language model; set its mask_token"
        )
    generator = torch.Generator().manual_seed(seed)
    special = torch.tensor(tokenizer.all_special_ids)
    masked = []
    for batch in batches:
        ids = batch["input_ids"]
        luck = torch.rand(ids.shape, generator=generator).masked_fill(torch.isin(ids, special), 2.0)
        chosen = (luck < 2) & ((luck < MASKED) | (luck == luck.amin(1, keepdim=True)))
        labels = ids.masked_fill(~chosen, IGNORED)
        masked.append({**batch, "input_ids": ids.masked_fill(chosen, tokenizer.mask_token_id), "labels": labels})
    return masked
