"""Reading a file of JSON that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infoprune.errors import InputError

MOST_BYTES = 1 << 28
"""More than the plan of any model takes: a file beyond it is none, and would fill the memory."""


def read_text(file: Path, remedy: str) -> str:
    """The text of a file.

    Args:
        file: is there.
        remedy: what to do if it cannot be read, as the end of the message.

    Raises:
        InputError: it is too large, or not UTF-8.
    """
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise InputError(f"{file} has {size:,} bytes, expected at most {MOST_BYTES:,} of JSON; {remedy}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8, expected JSON; {remedy}") from None


def read_json(file: Path, remedy: str) -> Any:  # noqa: ANN401
    """What a file of JSON says; nothing is known of it but that it is JSON.

    Args:
        file: is there.
        remedy: what to do if it cannot be read, as the end of the message.

    Raises:
        InputError: it is too large, not UTF-8, not JSON, or nested too deeply.
    """
    text = read_text(file, remedy)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise InputError(f"{file} is not JSON ({error}); {remedy}") from None
