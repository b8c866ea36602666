"""Outputs: fields of a config that change what a forward pass returns, at their defaults for our own passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PretrainedConfig

PLAIN: Mapping[str, object] = {
    "return_dict": True,
    "torchscript": False,
    "output_attentions": False,
    "_output_attentions": False,  # where the config keeps the one above, behind a property
    "output_hidden_states": False,
    "output_router_logits": False,
    "use_cache": False,
    "chunk_size_feed_forward": 0,
}
"""Values under which every model returns its outputs by name, and no more than it has to.

Chunks of the feed-forward block are no output, but they split the tensors that are recorded inside it.
"""


@contextmanager
def plain_outputs(*models: nn.Module) -> Iterator[None]:
    """Let models return their outputs by name within the block, whatever their configs ask for.

    The fields are restored afterwards, so that a saved copy answers as the original does.

    Args:
        models: Models; the configs of submodules count too, and fields that a submodule has copied from its config.

    Examples:
        >>> model.config.return_dict = False
        >>> with plain_outputs(model):
        ...     type(model(**batch)).__name__
        'SequenceClassifierOutput'
    """
    changed: list[tuple[dict[str, Any], str, object]] = []
    try:
        for values in _fields(*models):
            for name, plain in PLAIN.items():
                if values.get(name, plain) is not plain:
                    changed.append((values, name, values[name]))
                    values[name] = plain
        yield
    finally:
        for values, name, before in reversed(changed):
            values[name] = before


def set_plain(*models: nn.Module) -> None:
    """Let models that are not saved return their outputs by name from now on; see `plain_outputs`."""
    for values in _fields(*models):
        values |= {name: plain for name, plain in PLAIN.items() if values.get(name, plain) is not plain}


def _fields(*models: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield the attributes of all submodules, and of their configs, each once."""
    seen: set[int] = set()
    for model in models:
        for module in model.modules():
            yield vars(module)
            config = vars(module).get("config")
            if isinstance(config, PretrainedConfig) and id(config) not in seen:
                seen.add(id(config))
                yield vars(config)
