"""Token replacement: inputs with some tokens replaced at random, so that few inputs become many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.processes import add_up, total
from infoprune.statistics.calibration import Batch, real_tokens
from infoprune.structure.embeddings import count_tokens, tokens_by_role

FRAME = 0.9
"""Share of the inputs from which on a token that they contain is part of their frame, as [CLS] and [SEP] are."""


@dataclass(frozen=True)
class TokenReplacement:
    """Random replacement of tokens.

    Args:
        share: Share of the tokens that is replaced.
        tokens: Tokens to sample from, each as often as it occurs here.
        frame: Tokens that are never replaced.
    """

    share: float
    tokens: Int[Tensor, " n"]
    frame: Int[Tensor, " m"]

    def of(self, batch: Batch, *parts: object) -> Batch:
        """Return the batch with that share of its real tokens replaced; other seed parts give another variation."""
        ids = batch["input_ids"].clone()
        chance = torch.Generator().manual_seed(crc32(" ".join(map(str, parts)).encode()))  # seeds have 32 bits
        free = real_tokens(batch).cpu() & ~torch.isin(ids.cpu(), self.frame)
        hit = free & (torch.rand(ids.shape, generator=chance) < self.share)
        sampled = torch.randint(len(self.tokens), (int(hit.sum()),), generator=chance)
        ids[hit.to(ids.device)] = self.tokens[sampled].to(ids.device, ids.dtype)
        return {**batch, "input_ids": ids}


def frequency_replacement(batches: Sequence[Batch], share: float) -> TokenReplacement | None:
    """Return a replacement by the inputs' own tokens; None where there is nothing to replace, as in pictures.

    Tokens that occur in nearly all inputs are neither replaced nor sampled: they mark the parts of an input. In texts
    so long that nearly all hold a common word, this word is among them, which does no harm.
    """
    if share == 0 or not all(map(_texts_alone, batches)):
        return None
    inputs = sum(len(batch["input_ids"]) for batch in batches)
    rows = [
        row[real].cpu() for batch in batches for row, real in zip(batch["input_ids"], real_tokens(batch), strict=True)
    ]
    found, texts = torch.unique(torch.cat([torch.unique(row) for row in rows]), return_counts=True)
    frame = found[texts >= FRAME * inputs]
    tokens = torch.cat(rows)
    tokens = tokens[~torch.isin(tokens, frame)]
    return TokenReplacement(share, tokens, frame) if len(tokens) else None


def uniform_replacement(model: PreTrainedModel, batches: Sequence[Batch], share: float) -> TokenReplacement | None:
    """Return a replacement by all tokens that the model has a row for, alike; None where nothing can be replaced.

    Tokens that mark the parts of an input, those of other processes included, are neither replaced nor sampled, nor are
    the tokens that the model's config names by number, such as padding.
    """
    if not all(map(_texts_alone, batches)):
        return None
    inputs, holding = 0, torch.zeros(count_tokens(model), dtype=torch.float64)
    for batch in batches:
        for row, real in zip(batch["input_ids"], real_tokens(batch), strict=True):
            holding[torch.unique(row[real]).cpu()] += 1
            inputs += 1
    add_up(holding)
    (inputs,) = total(inputs)
    stays = holding >= FRAME * inputs
    for tokens in tokens_by_role(model).values():
        stays[list(tokens)] = True
    if not (holding[~stays] > 0).any():
        return None
    return TokenReplacement(share, (~stays).nonzero()[:, 0], stays.nonzero()[:, 0])


def _texts_alone(batch: Batch) -> bool:
    """Return whether all tokens of a batch are those of texts: some stand for parts of a picture, or go with one."""
    return "input_ids" in batch and "pixel_values" not in batch
