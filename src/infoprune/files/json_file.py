"""JSON files: read JSON from an untrusted source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infoprune.errors import InputError

MOST_BYTES = 1 << 28
"""Largest file that is read: the plan of any model is smaller, and a larger file could fill the memory."""


def read_text(file: Path, remedy: str) -> str:
    """Read the text of a file.

    Args:
        file: Existing file.
        remedy: End of the error message: what to do if the file cannot be read.

    Raises:
        InputError: The file is too large, or not UTF-8.
    """
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise InputError(f"{file} has {size:,} bytes, expected at most {MOST_BYTES:,} of JSON; {remedy}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8, expected JSON; {remedy}") from None


def read_json(file: Path, remedy: str) -> Any:  # noqa: ANN401
    """Read a JSON file; the structure of its contents is not checked.

    Args:
        file: Existing file.
        remedy: End of the error message: what to do if the file cannot be read.

    Raises:
        InputError: The file is too large, not UTF-8, not JSON, or nested too deeply.
    """
    text = read_text(file, remedy)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise InputError(f"{file} is not JSON ({error}); {remedy}") from None
