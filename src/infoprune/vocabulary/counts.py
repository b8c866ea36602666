"""Counts: the number of occurrences of every token in texts."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from infoprune.data.texts import TextData
from infoprune.data.tokenizing import unchanged

_CHUNK = 1024


def count_occurrences(tokenizer: PreTrainedTokenizerBase, data: TextData, size: int) -> Int[Tensor, " size"]:
    """Count how often every token occurs in texts; no text is truncated."""
    counts = torch.zeros(size, dtype=torch.long)
    for chunk in encoded(tokenizer, data):
        counts += torch.bincount(torch.tensor([i for ids in chunk for i in ids], dtype=torch.long), minlength=size)
    return counts


def encoded(tokenizer: PreTrainedTokenizerBase, data: TextData) -> Iterator[list[list[int]]]:
    """Yield the tokens of all texts at their full length, in chunks of 1,024 texts."""
    for start in range(0, len(data), _CHUNK):
        part = slice(start, start + _CHUNK)
        pairs = None if data.pairs is None else list(data.pairs[part])
        with unchanged(tokenizer):
            rows = tokenizer(list(data.texts[part]), pairs, truncation=False, verbose=False)
        yield rows["input_ids"]
