"""Usage: one-line messages for command lines that cannot be parsed."""

from collections.abc import Sequence
from typing import cast

import typer


def usage_message(error: Exception, given: Sequence[str]) -> str:
    """Return what is wrong with a command line, and where to read what it should be.

    Typer says of a value that it is no number, but not which value, nor of which command.

    Args:
        error: Usage error of the parser, such as `typer.BadParameter`.
        given: What followed the program's name.

    Examples:
        >>> main(["prune", "my-classifier", "half", "--data", "texts.csv", "--seed", "many"])
        error: --seed is 'many', expected a whole number such as 8; pass one, or see infoprune prune --help
    """
    usage = cast(typer.BadParameter, error)  # their base moved between releases of typer, and has the same attributes
    manual = f"see {usage.ctx.command_path if usage.ctx is not None else 'infoprune'} --help"
    found = _value(error.param.opts, given) if isinstance(error, typer.BadParameter) and error.param else None
    if found is None:
        return f"{usage.format_message().rstrip('.')}; {manual}"
    option, value = found
    expected = "a whole number such as 8" if "integer" in usage.message else "a number such as 2 or 0.001"
    return f"{option} is {value!r}, expected {expected}; pass one, or {manual}"


def _value(options: Sequence[str], given: Sequence[str]) -> tuple[str, str] | None:
    """Return an option and its value as they were given last, or None where the value stands by itself."""
    for index, text in reversed(list(enumerate(given))):
        option, equals, value = text.partition("=")
        if option in options:
            return option, value if equals else next(iter(given[index + 1 :]), "")
    return None
