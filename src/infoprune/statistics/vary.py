"""Vary: inputs with some tokens replaced at random, on which a model has more to say than on the few that there are."""

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
"""A token that stands in at least this share of the inputs is part of their frame, as [CLS] and [SEP] are."""


@dataclass(frozen=True)
class Variation:
    """How inputs are varied.

    Args:
        share: of the tokens that are replaced.
        tokens: to draw from, each as often as it occurs.
        frame: tokens that are never replaced.
    """

    share: float
    tokens: Int[Tensor, " n"]
    frame: Int[Tensor, " m"]

    def of(self, batch: Batch, *parts: object) -> Batch:
        """The batch with that share of its real tokens replaced; other parts of a seed give another variation."""
        ids = batch["input_ids"].clone()
        chance = torch.Generator().manual_seed(crc32(" ".join(map(str, parts)).encode()))  # it takes 32 bits
        free = real_tokens(batch).cpu() & ~torch.isin(ids.cpu(), self.frame)
        hit = free & (torch.rand(ids.shape, generator=chance) < self.share)
        drawn = torch.randint(len(self.tokens), (int(hit.sum()),), generator=chance)
        ids[hit.to(ids.device)] = self.tokens[drawn].to(ids.device, ids.dtype)
        return {**batch, "input_ids": ids}


def variation(batches: Sequence[Batch], share: float) -> Variation | None:
    """A variation with the inputs' own tokens; None where there is nothing to replace, as in pictures.

    Tokens that stand in nearly all inputs are left where they are and never drawn: they mark the inputs' parts. In
    texts so long that nearly all hold a common word, this word is among them, which does no harm.
    """
    if share == 0 or any("input_ids" not in batch for batch in batches):
        return None
    inputs = sum(len(batch["input_ids"]) for batch in batches)
    rows = [
        row[real].cpu() for batch in batches for row, real in zip(batch["input_ids"], real_tokens(batch), strict=True)
    ]
    found, texts = torch.unique(torch.cat([torch.unique(row) for row in rows]), return_counts=True)
    frame = found[texts >= FRAME * inputs]
    tokens = torch.cat(rows)
    tokens = tokens[~torch.isin(tokens, frame)]
    return Variation(share, tokens, frame) if len(tokens) else None


def anything(model: PreTrainedModel, batches: Sequence[Batch], share: float) -> Variation | None:
    """A variation with any tokens that the model has a row for, all alike; None where there is nothing to replace.

    What marks the inputs' parts, those of other processes included, stays and is not drawn, nor are the tokens that the
    model's config names by number, such as padding.
    """
    if any("input_ids" not in batch for batch in batches):
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
    return Variation(share, (~stays).nonzero()[:, 0], stays.nonzero()[:, 0])
