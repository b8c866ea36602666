"""ONNX files: the graphs that a model of each task is written as, and the inputs that they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.serving.onnx_decoder import POSITIONS, plain_inputs, write_decoder
from infoprune.serving.onnx_graph import write_graph
from infoprune.serving.onnx_model import OnnxModel
from infoprune.serving.onnx_seq2seq import OnnxSeq2Seq, write_cross_decoder, write_encoder
from infoprune.statistics.calibration import with_targets
from infoprune.tasks.table import task_of

GRAPH, ENCODER, DECODER = "model.onnx", "encoder_model.onnx", "decoder_model_merged.onnx"
"""Names of the files, as Optimum and transformers.js expect them."""

Batch = Mapping[str, Tensor]


def write_float32(model: PreTrainedModel, batches: Sequence[Batch], folder: Path) -> list[Path]:
    """Write a model into a folder as one graph, or as an encoder and a decoder; return the files in this order.

    Args:
        model: Model in float32 on the CPU.
        batches: Inputs from `inputs_of_graphs`.
        folder: Existing folder.
    """
    task = task_of(model)
    if task == "seq2seq":
        write_encoder(model, folder / ENCODER)
        write_cross_decoder(model, folder / DECODER)
        return [folder / ENCODER, folder / DECODER]
    if task == "causal-lm":
        write_decoder(model, folder / GRAPH)
    else:
        write_graph(model, batches, folder / GRAPH)
    return [folder / GRAPH]


def open_graphs(files: Sequence[Path]) -> OnnxModel | OnnxSeq2Seq:
    """Open what `write_float32` has written, or the same in 8 bits, as one model."""
    graphs = [OnnxModel(file) for file in files]
    return graphs[0] if len(graphs) == 1 else OnnxSeq2Seq(*graphs)


def inputs_of_graphs(model: PreTrainedModel, batches: Sequence[Batch]) -> list[dict[str, Tensor]]:
    """Return batches on the CPU, without labels, with what the graphs of a language model or encoder-decoder take."""
    task = task_of(model)
    if task == "causal-lm":
        return [_with_positions(model, batch) for batch in batches]
    found = [{name: tensor.cpu() for name, tensor in batch.items() if name != "labels"} for batch in batches]
    if task != "seq2seq":
        return found
    read = [{name: batch[name] for name in SEQ2SEQ if name in batch} for batch in found]
    return [{"attention_mask": torch.ones_like(x["input_ids"]), **x} for x in with_targets(model, read)]


SEQ2SEQ = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
"""Inputs of an encoder-decoder of texts."""


def _with_positions(model: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    ids = batch["input_ids"].cpu()
    known = {"input_ids": ids, POSITIONS: torch.arange(ids.shape[1]).expand(ids.shape)}
    known["attention_mask"] = batch.get("attention_mask", torch.ones_like(ids)).cpu()
    return {name: known[name] for name in plain_inputs(model)}
