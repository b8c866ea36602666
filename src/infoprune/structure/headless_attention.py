"""Headless attention: the replacement of an attention module of which no head is left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from transformers import Cache, EncoderDecoderCache


class HeadlessAttention(nn.Module):
    """Attention without heads: it writes no units, and a reader inside outputs its bias for every input.

    The stock attention cannot run without heads, because it infers their number from sizes. The linear modules stay,
    without rows or columns, so that the stock class cannot load the folder of such a model by mistake.

    Args:
        attention: Attention module to replace.
        modules: Names of the modules within it that stay.
        source: Name of the linear module that gets the tokens and writes no units any more.
        reader: Name of the linear module that reads no units any more; None where it lies outside.
        fills_cache: Whether it replaces a decoder's self-attention, by which the tokens in a cache are counted.
        passes_bias: Whether it replaces an attention that returns a position bias between its output and its weights.
    """

    def __init__(
        self,
        attention: nn.Module,
        modules: Iterable[str],
        source: str,
        reader: str | None,
        *,
        fills_cache: bool,
        passes_bias: bool = False,
    ) -> None:
        super().__init__()
        for name in modules:
            self.add_module(name, attention.get_submodule(name))
        self._source, self._reader = source, reader
        self._rest = (None, None) if passes_bias else (None,)
        # the attribute has the name that transformers gives it; GPT-Neo has another, attention without a cache none
        number = vars(attention).get("layer_idx", vars(attention).get("layer_id"))
        self.layer_idx: int | None = number if fills_cache else None

    def forward(self, hidden_states: Tensor | None = None, *args: object, **kwargs: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the reader's (batch, length, outputs), or its input (batch, length, 0); no bias, no weights."""
        tokens = kwargs["query"] if hidden_states is None else hidden_states  # the name in DistilBERT before 5.0
        for given in (*args, *kwargs.values()):
            if isinstance(given, Cache) and self.layer_idx is not None:
                self._fill(given, tokens, self.layer_idx)
        empty: Tensor = self.get_submodule(self._source)(tokens)
        return empty if self._reader is None else self.get_submodule(self._reader)(empty), *self._rest

    def _fill(self, cache: Cache, hidden_states: Tensor, layer: int) -> None:
        """Cache a zero for every token: positions and masks follow from the number of cached tokens of a layer."""
        batch, length, _ = hidden_states.shape
        zeros = hidden_states.new_zeros(batch, 1, length, 1)
        own = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
        own.update(zeros, zeros, layer)
