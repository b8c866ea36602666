"""Extras: modules that are installed on request only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from infoprune.errors import InputError


def extra_module(module: str, name: str, purpose: str) -> Any:  # noqa: ANN401
    """Import a module of an extra.

    Args:
        module: Name of the module.
        name: Name of the extra, as in pip install 'infoprune[name]'.
        purpose: What the module is needed for.

    Raises:
        InputError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise InputError(
            f"{module} is not installed, expected it for {purpose}; run pip install 'infoprune[{name}]'"
        ) from None
