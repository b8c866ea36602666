"""Silent: what stands in the place of an attention of which no head is left."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from transformers import Cache, EncoderDecoderCache


class Silent(nn.Module):
    """An attention without heads: nothing is written, and a reader inside answers with its bias, whatever comes in.

    Attention itself cannot run without heads, whose number it infers from sizes. The linear modules stay, without rows
    or columns: so a folder of such a model cannot be taken for one of the stock class.

    Args:
        attention: whose place it takes.
        linears: names of the linear modules within it.
        source: name of the one that is given the tokens and writes no unit any more.
        reader: name of the one that reads no unit any more; None where that stands outside.
        remembers: whether it is in a decoder's first attention, by which tokens in a cache are counted.
    """

    def __init__(
        self, attention: nn.Module, linears: Iterable[str], source: str, reader: str | None, *, remembers: bool
    ) -> None:
        super().__init__()
        for name in linears:
            self.add_module(name, attention.get_submodule(name))
        self._source, self._reader = source, reader
        # what a model calls it; attention that is never cached has none
        self.layer_idx: int | None = vars(attention).get("layer_idx") if remembers else None

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, None]:
        """(batch, length, outputs) of the reader, or (batch, length, 0) for it; and no attention weights."""
        for given in (*args, *kwargs.values()):
            if isinstance(given, Cache) and self.layer_idx is not None:
                self._remember(given, hidden_states, self.layer_idx)
        nothing: Tensor = self.get_submodule(self._source)(hidden_states)
        return nothing if self._reader is None else self.get_submodule(self._reader)(nothing), None

    def _remember(self, cache: Cache, hidden_states: Tensor, layer: int) -> None:
        """A zero for every token: positions and masks follow from how many tokens a layer has cached."""
        batch, length, _ = hidden_states.shape
        zeros = hidden_states.new_zeros(batch, 1, length, 1)
        own = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
        own.update(zeros, zeros, layer)
