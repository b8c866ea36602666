"""Vary: inputs with some tokens replaced, on which a model has more to say than on the few that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from infoprune.processes import add_up, total
from infoprune.statistics.calibration import Batch, real_tokens
from infoprune.structure.embeddings import count_tokens, tokens_by_role
from infoprune.structure.stand_ins import rows_of_tokens, table_of

FRAME = 0.9
"""A token that stands in at least this share of the inputs is part of their frame, as [CLS] and [SEP] are."""

NEIGHBOURS = 16
"""Tokens that may stand in the place of another."""

PANEL = 512
"""Tokens whose neighbours are looked for at once."""


@dataclass(frozen=True)
class Variation:
    """How inputs are varied.

    Args:
        share: of the tokens that are replaced.
        tokens: to draw from, all alike.
        frame: tokens that are never replaced.
        near: by token, those that are drawn in its place instead, all alike; None draws from `tokens`.
    """

    share: float
    tokens: Int[Tensor, " n"]
    frame: Int[Tensor, " m"]
    near: Int[Tensor, "v k"] | None = None

    def of(self, batch: Batch, *parts: object) -> Batch:
        """The batch with that share of its real tokens replaced; other parts of a seed give another variation."""
        ids = batch["input_ids"].clone()
        chance = torch.Generator().manual_seed(crc32(" ".join(map(str, parts)).encode()))  # it takes 32 bits
        free = real_tokens(batch).cpu() & ~torch.isin(ids.cpu(), self.frame)
        hit = free & (torch.rand(ids.shape, generator=chance) < self.share)
        several = len(self.tokens) if self.near is None else self.near.shape[1]
        drawn = torch.randint(several, (int(hit.sum()),), generator=chance)
        new = self.tokens[drawn] if self.near is None else self.near[ids.cpu()[hit], drawn]
        ids[hit.to(ids.device)] = new.to(ids.device, ids.dtype)
        return {**batch, "input_ids": ids}


def anything(model: PreTrainedModel, batches: Sequence[Batch], share: float) -> Variation | None:
    """A variation with any tokens that the model has a row for, all alike; None where there is nothing to replace.

    What marks the inputs' parts, those of other processes included, stays and is not drawn, nor are the tokens that the
    model's config names by number, such as padding. In texts so long that nearly all hold a common word, this word
    stays too, which does no harm.
    """
    if share == 0 or any("input_ids" not in batch for batch in batches):
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


def neighbours(model: PreTrainedModel, batches: Sequence[Batch], share: float) -> Variation | None:
    """As `anything`, but a token gives way to one of the nearest rows of the embedding table, by the cosine.

    The neighbours of a word are words that could stand there: the inputs stay close to what the model will be asked,
    and hold many words that the inputs as they are lack.

    Source: Jiao et al., TinyBERT, EMNLP 2020, section 3.2, with the model's own table for other word vectors.
    """
    kind = anything(model, batches, share)
    if kind is None or len(kind.tokens) < 2:
        return None
    rows = rows_of_tokens(model)
    table = table_of(model)
    table = table[rows.to(table.device)]
    here = torch.unique(torch.cat([batch["input_ids"].flatten().cpu() for batch in batches]))
    here = here[torch.isin(here, kind.tokens)]
    near = torch.arange(len(table))[:, None].repeat(1, min(NEIGHBOURS, len(kind.tokens) - 1))
    near[here] = nearest(table, here, kind.tokens, near.shape[1])
    return replace(kind, near=near)


def nearest(
    table: Float[Tensor, "v n"], asked: Int[Tensor, " q"], others: Int[Tensor, " o"], count: int
) -> Int[Tensor, "q k"]:
    """For some rows of a table the rows among others, but not themselves, that have the highest cosines with them."""
    unit = normalize(table[others].float(), dim=-1)
    place = torch.empty(len(table), dtype=torch.long)
    place[others] = torch.arange(len(others))
    own = torch.isin(asked, others)
    found = []
    for tokens, among in zip(asked.split(PANEL), own.split(PANEL), strict=True):  # type: ignore[no-untyped-call]
        cosines = normalize(table[tokens].float(), dim=-1) @ unit.T
        cosines[among.nonzero()[:, 0], place[tokens[among]]] = -torch.inf
        found.append(others[cosines.topk(count).indices.cpu()])
    return torch.cat(found)
