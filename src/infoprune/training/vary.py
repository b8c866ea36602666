"""Vary: inputs with some tokens replaced at random, on which a teacher has more to say than on its training texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset

from infoprune.statistics.calibration import Batch, real_tokens

Example = dict[str, Any]
"""What the Trainer takes for one example: a batch and its number, by which the teacher knows it again."""

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

    def of(self, batch: Batch, seed: int) -> Batch:
        """The batch with that share of its real tokens replaced; another seed gives another variation."""
        ids = batch["input_ids"].clone()
        chance = torch.Generator().manual_seed(seed)
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


class Varied(Dataset[Example]):
    """The examples of a training, one for every step, each variation in several steps.

    A number tells a variation from all others and from the examples as they were, whose numbers are below `free`.

    Args:
        examples: come in turn, varied anew each time; each has a "batch".
        how: they are varied.
        steps: in all.
        repeats: steps that a variation serves, where the steps go round.
        seed: of the variations.
        free: the first number that no example has.
    """

    def __init__(
        self, examples: Sequence[Example], how: Variation, steps: int, repeats: int, seed: int, free: int
    ) -> None:
        self._examples, self._how, self._steps, self._seed, self._free = examples, how, steps, seed, free
        self._variations = -(-steps // repeats)
        self._once = repeats == 1

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Example:
        index = step % self._variations
        batch = self._how.of(self._examples[index % len(self._examples)]["batch"], self._seed * (1 << 32) + index)
        return {"number": None if self._once else self._free + index, "batch": batch}


def varied(
    examples: Sequence[Example],
    judging: Sequence[Example],
    how: Variation | None,
    steps: int,
    repeats: int,
    seed: int,
) -> tuple[Sequence[Example] | Varied, list[Example]]:
    """Examples to train on for so many steps, and to judge by: these are varied once and for all.

    Args:
        examples: of the training, numbered.
        judging: held out from it, numbered too.
        how: they are varied, if they are.
        steps: of the training.
        repeats: steps that a variation serves.
        seed: of the variations.
    """
    if how is None:
        return examples, list(judging)
    free = 1 + max(example["number"] for example in (*examples, *judging))
    asked = [{"number": free + i, "batch": how.of(one["batch"], seed)} for i, one in enumerate(judging)]
    return Varied(examples, how, steps, repeats, seed, free + len(asked)), asked
