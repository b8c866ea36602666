"""Tokenizing: restore the settings that a tokenizer keeps from its calls."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedTokenizerBase


@contextmanager
def unchanged(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Restore the truncation and padding of a tokenizer after the block.

    A fast tokenizer keeps the truncation and padding of its last call and writes them into tokenizer.json, where other
    libraries read them.

    Examples:
        >>> with unchanged(tokenizer):
        ...     encoded = tokenizer(texts, truncation=True, max_length=64)
    """
    if not tokenizer.is_fast:
        yield
        return
    backend = tokenizer.backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    try:
        yield
    finally:
        if truncation is None:
            backend.no_truncation()
        else:
            backend.enable_truncation(**truncation)
        if padding is None:
            backend.no_padding()
        else:
            backend.enable_padding(**padding)
