"""The error for wrong input."""


class InputError(ValueError):
    """The user's input is wrong.

    The message is one line: what was given, what was expected, what to do. The command line prints it on stderr and
    ends with exit code 2; nothing has been written by then.

    Example:
        >>> raise InputError("keep=1.5: expected a share in (0, 1]; pass e.g. keep=0.5")
        Traceback (most recent call last):
        infoprune.errors.InputError: keep=1.5: expected a share in (0, 1]; pass e.g. keep=0.5
    """
