"""Errors: the error for wrong input."""


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
