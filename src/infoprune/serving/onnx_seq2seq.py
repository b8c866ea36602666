"""ONNX seq2seq: an encoder-decoder as two graphs, an encoder and a decoder with its cache."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import ModelOutput

from infoprune.serving.onnx_cache import Sizes, cache_axes, example_cache, finish_cache, presents
from infoprune.serving.onnx_graph import BATCH, LENGTH
from infoprune.serving.onnx_model import PAST, OnnxModel, extra
from infoprune.serving.onnx_trace import trace

STATES, MASK = "encoder_hidden_states", "encoder_attention_mask"
READ_LENGTH = "encoder_sequence_length"
READ, CACHED, NEW = 5, 3, 2
"""Tokens with which a decoder is traced: of the encoder, cached, and new."""


def write_encoder(model: PreTrainedModel, file: Path) -> None:
    """Trace the encoder of an encoder-decoder and write its graph: texts to ``last_hidden_state``.

    Args:
        model: Model in float32 on the CPU.
        file: File for the graph.
    """
    ids = torch.zeros(2, READ, dtype=torch.long)
    axes = {0: torch.export.Dim(BATCH), 1: torch.export.Dim(LENGTH)}
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    onnx: Any = extra("onnx")
    onnx.save(trace(_Encoder(model), inputs, [axes] * 2, ["last_hidden_state"], model), file)


def write_cross_decoder(model: PreTrainedModel, file: Path) -> None:
    """Trace the decoder of an encoder-decoder and write its graph, which takes a cache and returns the longer one.

    Inputs are ``input_ids``, ``encoder_hidden_states``, ``encoder_attention_mask`` and the cache: key and value of the
    decoder's own tokens (``past_key_values.N.decoder.key``) and of the encoder's (``past_key_values.N.encoder.key``).
    Keys and values are computed of those of the encoder's tokens that are not cached: all in the first call, none
    afterwards. So one graph serves both. An empty cache may have any number of heads and any head size.

    Args:
        model: Model in float32 on the CPU; heads may differ by layer.
        file: File for the graph.
    """
    ids = torch.zeros(2, READ, dtype=torch.long)
    with torch.no_grad():
        answers = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=ids, use_cache=True)
    batch, read = torch.export.Dim(BATCH), torch.export.Dim(READ_LENGTH)
    plain = {"input_ids": ids[:, :NEW], STATES: answers.encoder_last_hidden_state, MASK: torch.ones_like(ids)}
    axes = [{0: batch, 1: torch.export.Dim(LENGTH)}, {0: batch, 1: read}, {0: batch, 1: read}]
    cache = example_cache(_cache_sizes(answers.past_key_values), own=CACHED, read=READ - 2)
    outputs = ["logits", *presents(cache)]
    graph = trace(_CrossDecoder(model), plain | cache, [*axes, *map(cache_axes, cache)], outputs, model)
    finish_cache(graph)
    onnx: Any = extra("onnx")
    onnx.save(graph, file)


def encoder_of(model: PreTrainedModel) -> nn.Module:
    """Return the encoder of an encoder-decoder."""
    encoder: nn.Module = model.get_encoder()
    return encoder


def _cache_sizes(cache: Any) -> Sizes:  # noqa: ANN401
    own, cross = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
    found: dict[str, tuple[int, int]] = {}
    for number, layers in enumerate(zip(own, cross, strict=True)):
        for whose, layer in zip(("decoder", "encoder"), layers, strict=True):
            for part, tensor in (("key", layer.keys), ("value", layer.values)):
                empty = tensor is None or not tensor.numel()  # attention without heads caches nothing
                found[f"{PAST}{number}.{whose}.{part}"] = (1, 1) if empty else (tensor.shape[1], tensor.shape[3])
    return found


class _Encoder(nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder_of(model)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(input_ids=tensors[0], attention_mask=tensors[1]).last_hidden_state,)


class _CrossDecoder(nn.Module):
    """Decoder from tensors to tensors: texts, the encoder's states and mask, then the cache of every layer."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        ids, states, mask, *past = tensors
        count = len(past) // 4
        own, cross = DynamicCache(), DynamicCache()
        for layer in range(count):
            own.update(past[4 * layer], past[4 * layer + 1], layer)
            cross.update(past[4 * layer + 2], past[4 * layer + 3], layer)
        cached = past[2].shape[2]
        cache = EncoderDecoderCache(own, cross)
        cache.is_updated = dict.fromkeys(range(count), False)  # what is cached already would be taken for all
        with _reading_from(self.model, cached):
            answers = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask,
                decoder_input_ids=ids,
                past_key_values=cache,
                use_cache=True,
            )
        rest = states.new_zeros(states.shape[0], 1, states.shape[1], 1)[:, :, cached:]
        for layer, read in cache.is_updated.items():
            if not read:  # attention without heads: as many zeros as others have keys
                cross.update(rest, rest, layer)
        layers: Any = zip(own.layers, cross.layers, strict=True)
        return (answers.logits, *(x for pair in layers for each in pair for x in (each.keys, each.values)))


OTHERS = "key_value_states"
"""Argument of an attention module for the states of other tokens than its own."""


@contextmanager
def _reading_from(model: nn.Module, start: int | torch.SymInt) -> Iterator[None]:
    """Within the block, let attention to the encoder's tokens compute keys and values from one of these on only."""

    def without_cached(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        if kwargs.get(OTHERS) is None:
            return None
        return args, {**kwargs, OTHERS: kwargs[OTHERS][:, start:]}

    takes = {name: each for name, each in model.named_modules() if OTHERS in inspect.signature(each.forward).parameters}
    # a layer around the attention takes the same argument, and passes it on
    inner = [each for name, each in takes.items() if not any(other.startswith(f"{name}.") for other in takes)]
    handles = [each.register_forward_pre_hook(without_cached, with_kwargs=True) for each in inner]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class OnnxSeq2Seq(nn.Module):
    """Encoder-decoder of two graphs that onnxruntime runs on the CPU.

    Args:
        encoder: The encoder's graph.
        decoder: The decoder's graph.

    Attributes:
        config: Config of the exported model.
        inputs: Names of the inputs.
        caches: Whether there is a cache of keys and values.
    """

    def __init__(self, encoder: OnnxModel, decoder: OnnxModel) -> None:
        super().__init__()
        self.encoder, self.decoder, self.config = encoder, decoder, decoder.config
        self.inputs = ("input_ids", "attention_mask", "decoder_input_ids")
        self.caches = True

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor, **rest: Tensor
    ) -> ModelOutput:
        """Run both graphs on a batch.

        Args:
            input_ids: Texts (inputs, tokens).
            attention_mask: Which of these are not padding.
            decoder_input_ids: What the decoder reads (inputs, tokens), padded on the right.
            **rest: A cache from an earlier output; a mask of the decoder's tokens has no effect.
        """
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        cache = {name: tensor for name, tensor in rest.items() if name.startswith(PAST)}
        found: ModelOutput = self.decoder(
            input_ids=decoder_input_ids, **{STATES: states, MASK: attention_mask}, **cache
        )
        return found
