"""Micro-batches: a batch in pieces whose graph fits into memory, whatever batches the caller has made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from infoprune.statistics.calibration import Batch, key_of, reads_tokens

TOKENS = 4096
"""Most tokens of a micro-batch of several texts, with padding: more make products hardly faster."""

OUTPUTS = 1 << 27
"""Most outputs of a micro-batch of several texts, where every token has a distribution over a vocabulary."""


@dataclass(frozen=True)
class MicroBatch:
    """Some inputs of a batch.

    Args:
        batch: Number of the batch.
        key: Key of the whole batch, see `key_of`.
        first: Number of the first input within the batch.
        inputs: The inputs, as `model(**inputs)` takes them.
    """

    batch: int
    key: int
    first: int
    inputs: Batch

    @property
    def count(self) -> int:
        """Number of inputs."""
        return len(next(iter(self.inputs.values())))

    @property
    def tokens(self) -> int:
        """Number of tokens with padding, of the longer side of an encoder-decoder."""
        return self.count * length_of(self.inputs)


def micro_batches(model: PreTrainedModel, batches: Sequence[Batch]) -> list[MicroBatch]:
    """Divide every batch into pieces of `TOKENS` tokens and `OUTPUTS` outputs; pictures and sound are not divided."""
    found = []
    for number, batch in enumerate(batches):
        most, key = inputs_at_once(model, batch), key_of(batch)
        found += [MicroBatch(number, key, first, piece) for first, piece in pieces(batch, most)]
    return found


def pieces(batch: Batch, most: int) -> Iterator[tuple[int, Batch]]:
    """Yield pieces of a batch with so many inputs at most, each with the number of its first input."""
    count = len(next(iter(batch.values())))
    if most >= count:
        yield 0, batch
        return
    for first in range(0, count, most):
        yield first, {name: each[first : first + most] for name, each in batch.items()}


def inputs_at_once(model: nn.Module, batch: Batch) -> int:
    """Return the most inputs of a batch that a model of texts takes in one piece; of others all."""
    if not isinstance(model, PreTrainedModel) or not reads_tokens(batch):
        return len(next(iter(batch.values())))
    return inputs_in_micro_batch(model, length_of(batch))


def inputs_in_micro_batch(model: PreTrainedModel, length: int) -> int:
    """Return the most inputs of some length, in tokens, that a micro-batch has."""
    return max(1, min(TOKENS, OUTPUTS // outputs_of(model)) // max(1, length))


def length_of(batch: Batch) -> int:
    """Return the number of tokens of an input with padding."""
    return max((batch[name].shape[1] for name in ("input_ids", "decoder_input_ids") if name in batch), default=1)


def outputs_of(model: PreTrainedModel) -> int:
    """Return how many numbers a model gives for every token: the size of its vocabulary, or 1."""
    head: nn.Module | None = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    return 1 if weight is None else max(1, *weight.shape)
