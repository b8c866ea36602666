"""Trim memory: give back to the system what has been freed."""

import ctypes
import sys


def trim_memory() -> None:
    """Give the freed pages of the heap back to the system, where the C library can do that (glibc).

    Between tensors that stay, the heap keeps the room of those that have been freed; larger ones do not fit there.

    Examples:
        >>> trim_memory()
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in every C library
        if trim is not None:
            trim(0)
