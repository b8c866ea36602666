"""Spoken: rewrite messages of the library, which name arguments, with the options of the command line."""

import re

_ARGUMENT = re.compile(r"`(?P<name>[a-z][a-z0-9_]*)(=(?P<value>[^`]*))?`")


def as_options(message: str, options: frozenset[str]) -> str:
    """Return a message with every argument in backticks written as the option of that name.

    Args:
        message: Message of the library, e.g. of an `InputError`.
        options: Names of all options, such as "--max-length"; other names are not rewritten.

    Examples:
        >>> as_options("65 tokens; pass `max_length=64`", frozenset({"--max-length"}))
        '65 tokens; pass --max-length 64'
    """

    def option(match: re.Match[str]) -> str:
        name, value = match["name"].replace("_", "-"), match["value"]
        if value == "False" and f"--no-{name}" in options:
            return f"--no-{name}"
        if f"--{name}" not in options:
            return match[0]
        return f"--{name}" if value in (None, "True") else f"--{name} {value}"

    return _ARGUMENT.sub(option, message)
