"""Fields: values in a config, or in a config within it: "text_config.hidden_size"."""

from __future__ import annotations

from transformers import PretrainedConfig


def read_field(config: PretrainedConfig, name: str, default: object = None) -> object:
    """Return the value of a field; the default where the config does not have it."""
    inner, own = _holder(config, name)
    return getattr(inner, own, default)


def write_field(config: PretrainedConfig, name: str, value: object) -> None:
    """Write the value of a field, in place; None removes the field."""
    inner, own = _holder(config, name)
    if value is not None:
        setattr(inner, own, value)
    elif own in vars(inner):
        delattr(inner, own)


def _holder(config: PretrainedConfig, name: str) -> tuple[PretrainedConfig, str]:
    *path, own = name.split(".")
    for part in path:
        config = getattr(config, part)
    return config, own
