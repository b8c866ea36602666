"""Read option values: numbers, names and amounts, converted for the library."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from infoprune.errors import InputError

if TYPE_CHECKING:
    from infoprune.budgets.budget import Budget
    from infoprune.pipeline.settings import Effort, Form
    from infoprune.pipeline.size import MaxLoss
    from infoprune.vocabulary.dropped import Dropped


Name = TypeVar("Name", bound=str)

DEFAULT_BUDGET = "flops=0.5"
"""That of `infoprune.prune`, which would take seconds to import."""


def number(option: str, text: str, example: str) -> float:
    """Read an option's value as a number.

    Raises:
        InputError: It is not a number.

    Examples:
        >>> number("--keep", "half", "0.5")
        Traceback (most recent call last):
        infoprune.errors.InputError: --keep is 'half', expected a number; pass e.g. --keep 0.5
    """
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} is {text!r}, expected a number; pass e.g. {option} {example}") from None


def budget(
    text: str | None, allocation: str | None = None, *, depth: bool = False, default: str | None = DEFAULT_BUDGET
) -> "Budget | None":
    """Read --budget, --allocation and --depth.

    Args:
        text: Value of --budget.
        allocation: Value of --allocation.
        depth: Whether --depth was passed.
        default: Budget that the other two apply to where none is given; None where the size is given otherwise.

    Raises:
        InputError: One of them is not valid.

    Examples:
        >>> budget("flops=0.4")
        Budget(quantity='flops', amount=0.4, allocation=None, depth=False)
    """
    if text is None and allocation is None and not depth:
        return None
    if text is None and default == DEFAULT_BUDGET:
        from infoprune.pipeline.size import default_size

        return default_size(allocation, depth)
    text = default if text is None else text
    if text is None:
        name = "--depth" if depth else "--allocation"
        raise InputError(
            f"{name} applies to a budget, but another size was given; pass e.g. --budget flops=0.5 instead"
        )
    from infoprune.budgets.budget import read_budget

    return replace(read_budget(text, allocation), depth=depth)


def max_loss(max_loss: str | None, max_kl: str | None) -> "MaxLoss | None":
    """Read --max-loss or --max-kl.

    Raises:
        InputError: Both are given, or one cannot be read.

    Examples:
        >>> max_loss("accuracy=0.5", None)
        MaxLoss(metric='accuracy', most=0.5)
    """
    if max_loss is None and max_kl is None:
        return None
    if max_loss is not None and max_kl is not None:
        raise InputError("--max-loss and --max-kl were given, expected one; leave one out")
    from infoprune.pipeline.size import MaxLoss, read_max_loss

    return read_max_loss(str(max_loss)) if max_kl is None else MaxLoss("kl", number("--max-kl", max_kl, "0.05"))


def dropped_tokens(text: str | None) -> "Dropped | None":
    """Read --dropped-tokens.

    Raises:
        InputError: There is no such way to handle removed tokens.

    Examples:
        >>> dropped_tokens("remap")
        'remap'
    """
    from infoprune.vocabulary.dropped import DROPPED

    return None if text is None else _one_of("--dropped-tokens", text, DROPPED, "or leave it out")


def shape(text: str) -> "Form":
    """Read --shape.

    Raises:
        InputError: There is no such shape.

    Examples:
        >>> shape("uniform")
        'uniform'
    """
    from infoprune.pipeline.settings import FORMS

    return _one_of("--shape", text, FORMS, "pass e.g. --shape free")


def effort(text: str) -> "Effort":
    """Read --effort.

    Raises:
        InputError: There is no such effort.

    Examples:
        >>> effort("quick")
        'quick'
    """
    from infoprune.pipeline.settings import EFFORTS

    return _one_of("--effort", text, EFFORTS, "pass e.g. --effort normal")


def _one_of(option: str, text: str, there_are: Iterable[Name], advice: str) -> Name:
    there_are = tuple(there_are)
    for name in there_are:
        if text == name:
            return name
    raise InputError(f"{option} is {text!r}, expected one of: {', '.join(there_are)}; {advice}")


def names(text: str | None) -> tuple[str, ...] | None:
    """Split a list of names at its commas.

    Examples:
        >>> names("ffn, heads")
        ('ffn', 'heads')
    """
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def memory(text: str | None) -> int | None:
    """Read --memory.

    Raises:
        InputError: It is not an amount of memory.

    Examples:
        >>> memory("2GB")
        2000000000
    """
    if text is None:
        return None
    from infoprune.budgets.budget import read_bytes

    return read_bytes(text)


def integers(option: str, text: str) -> tuple[int, ...]:
    """Read an option's value as whole numbers separated by commas.

    Raises:
        InputError: One is not a whole number.

    Examples:
        >>> integers("--batch-size", "1, 32")
        (1, 32)
    """
    try:
        return tuple(int(part) for part in names(text) or ())
    except ValueError:
        raise InputError(f"{option} is {text!r}, expected whole numbers; pass e.g. {option} 1,32") from None
