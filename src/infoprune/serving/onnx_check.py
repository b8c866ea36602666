"""ONNX check: a graph runs on real inputs, and its outputs are compared with those of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.serving.onnx_model import PAST, PRESENT, OnnxModel
from infoprune.serving.onnx_seq2seq import OnnxSeq2Seq

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """Difference of a graph's outputs from PyTorch's.

    Args:
        largest: Largest absolute difference; NaN if an output is.
        scale: Largest absolute output of PyTorch.
        shapes: Shapes of the compared inputs.
    """

    largest: float
    scale: float
    shapes: tuple[tuple[int, ...], ...]


def difference(model: PreTrainedModel, graph: OnnxModel | OnnxSeq2Seq, batches: Sequence[Batch]) -> Difference:
    """Compare a graph with PyTorch: on all batches, on the first input of each alone, and from its cache if it has one.

    Args:
        model: Model that was exported, in float32 on the CPU.
        graph: Its graph, or the two graphs of an encoder-decoder.
        batches: Real inputs.
    """
    differences, scales, shapes = [], [], {}
    with torch.inference_mode():
        for padded in (*batches, *map(_first_alone, batches)):
            # Without this mask padding is read as text, but only after all of the text.
            batch = {name: tensor for name, tensor in padded.items() if name != "decoder_attention_mask"}
            expected = model(**batch)
            for got, start in _runs(graph, batch):
                for name, tensor in got.items():
                    if name.startswith(PRESENT):
                        continue  # what is wrong in a cache is wrong in the logits that are computed from it
                    there = expected[name][:, start:] if start else expected[name]
                    real = _real(batch, tensor, start)
                    differences.append((tensor - there)[real].abs().max())
                    scales.append(there[real].abs().max())
            shapes[tuple(next(iter(batch.values())).shape)] = True
    return Difference(float(torch.stack(differences).max()), float(torch.stack(scales).max()), tuple(shapes))


def _real(batch: Batch, output: Tensor, start: int) -> Tensor:
    """Return where an output counts: at padding a window of attention may hold no token, and anything comes out."""
    mask = batch.get("attention_mask")
    if mask is None or output.ndim < 3 or output.shape[:2] != mask[:, start:].shape:
        return torch.ones(len(output), dtype=torch.bool)
    return mask[:, start:].bool()


def _runs(graph: OnnxModel | OnnxSeq2Seq, batch: Batch) -> Iterator[tuple[Mapping[str, Tensor], int]]:
    """Yield the outputs for a batch; where the graph has a cache, also those for its second half after the first.

    The second value is the number of tokens before those that the outputs are for.
    """
    yield graph(**batch), 0
    own = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
    if not graph.caches or batch[own].shape[1] < 2:
        return
    start = batch[own].shape[1] // 2
    later = {own, "position_ids"}
    growing = later if own == "decoder_input_ids" else later | {"attention_mask"}
    first = graph(**{name: tensor[:, :start] if name in growing else tensor for name, tensor in batch.items()})
    rest = {name: tensor[:, start:] if name in later else tensor for name, tensor in batch.items()}
    past = {name.replace(PRESENT, PAST): tensor for name, tensor in first.items() if name.startswith(PRESENT)}
    yield graph(**rest, **past), start


def _first_alone(batch: Batch) -> dict[str, Tensor]:
    """Return the first input without its padding: the smallest input of a graph."""
    alone = {name: tensor[:1] for name, tensor in batch.items()}
    for prefix in ("", "decoder_"):
        mask = alone.get(f"{prefix}attention_mask")
        if mask is not None:
            same = [name for name in alone if name.startswith("decoder_") == bool(prefix) and alone[name].ndim == 2]
            alone |= {name: alone[name][:, mask[0].bool()] for name in same}
    return alone
