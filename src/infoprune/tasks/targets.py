"""Targets: inputs with what a model should say at their tokens."""

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
"""Share of the tokens that a masked language model is asked for."""


def with_tags(
    data: TextData, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, *, batch_size: int, max_length: int
) -> list[dict[str, Tensor]]:
    """Batches for token classification: the first token of every word is labelled with the tag of the word.

    Args:
        data: the texts are words between spaces; the labels are tags between spaces, one for each word.
        tokenizer: a fast one, which knows the words of its tokens.
        config: of the model; its `label2id` has the tags.
        batch_size: inputs a batch.
        max_length: tokens after which an input is cut.

    Raises:
        InputError: a row has not as many tags as words, or a tag is unknown to the model.
    """
    if not tokenizer.is_fast:
        raise InputError(
            "the tokenizer is not a fast one, expected one that knows words; convert it (tokenizer.json), or leave the "
            "tags out"
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
        places = encoded.word_ids(index)
        before = [None, *places[:-1]]
        labels.append(
            [IGNORED if place in (None, last) else of[place] for place, last in zip(places, before, strict=True)]
        )
    return packed({**encoded, "labels": labels}, tokenizer, batch_size)


def with_texts(
    data: TextData, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, *, batch_size: int, max_length: int
) -> list[dict[str, Tensor]]:
    """Batches for an encoder-decoder: the second text of every row is what it should write.

    Args:
        data: with second texts.
        tokenizer: of the model; it may treat targets in their own way.
        config: of the model; it knows what the decoder begins with.
        batch_size: inputs a batch.
        max_length: tokens after which source and target are cut.
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
    """The batches with 15 % of their tokens masked, at least one an input; these are labelled with what stood there.

    Raises:
        InputError: the tokenizer has no token for it.
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
