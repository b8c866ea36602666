"""Tokenizing: what a tokenizer remembers of its calls."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedTokenizerBase


@contextmanager
def unchanged(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Within the block a tokenizer may be called; after it, it is saved as it would have been before.

    A fast tokenizer keeps truncation and padding of its last call, writes them into tokenizer.json, and other libraries
    that read this file go by them.

    Example:
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
