"""Errors: the error for wrong input, and what may be quoted of other libraries' errors."""

import re

POINTERS = re.compile(
    r"above|below report|traceback|look at|for details|check out|_verbosity|ignore_mismatched_sizes|trust_remote_code"
    r"|fix these issues|open an issue|please set|if you're using",
    re.IGNORECASE,
)
"""Sentences of other libraries that point to texts which are not shown here, or advise options that we do not have."""


class InputError(ValueError):
    """Error of the user's input.

    The message is one line: what was given, what was expected, the remedy. Arguments in it are written in backticks by
    their Python names, so that the command line can print them as options: `max_length=64` as --max-length 64. The
    command line prints the message on stderr and ends with exit code 2, before it has written any output.

    Examples:
        >>> raise InputError("`keep` is 1.5, expected a share in (0, 1]; pass e.g. `keep=0.5`")
        Traceback (most recent call last):
        infoprune.errors.InputError: `keep` is 1.5, expected a share in (0, 1]; pass e.g. `keep=0.5`
    """


def reason_of(error: BaseException, longest: int = 200) -> str:
    """Return what may be quoted of another library's error: one line without its advice; else the error's name.

    Args:
        error: Error of another library.
        longest: Characters to return at most.

    Examples:
        >>> reason_of(RuntimeError("Sizes differ. For details look at the above report!"))
        'Sizes differ.'
        >>> reason_of(RuntimeError("For details look at the above report!"))
        'RuntimeError'
    """
    sentences = re.split(r"(?<=[.!?])\s+|\n+", str(error).strip())
    said = " ".join(" ".join(each for each in sentences if each and not POINTERS.search(each)).split())
    return said[:longest] or type(error).__name__
