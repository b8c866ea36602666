"""Arguments and options that several commands share."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from infoprune.errors import InputError

if TYPE_CHECKING:
    from infoprune.budgets.budget import Budget
    from infoprune.search import Tolerance
    from infoprune.settings import Form
    from infoprune.vocabulary.dropped import Dropped

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Folder of a model and its tokenizer.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="New folder for the result; it appears whole or not at all.")]
Data = Annotated[
    str, typer.Option("--data", metavar="FILE", help="File of texts: csv, tsv, json, jsonl, parquet or txt.")
]
Eval = Annotated[
    str | None,
    typer.Option("--eval", metavar="FILE", help="File of texts, and labels if there are any, to score the result on."),
]
Text = Annotated[
    str | None,
    typer.Option("--text", metavar="COL", help="Column of the texts; 'text' or 'sentence' is found without it."),
]
TextPair = Annotated[
    str | None,
    typer.Option(
        "--text-pair",
        metavar="COL",
        help="Column of the second texts: of pairs, the texts that questions are about, or targets.",
    ),
]
Label = Annotated[
    str | None, typer.Option("--label", metavar="COL", help="Column of the labels; 'label' is found without it.")
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="N", help="Cut texts after so many tokens.", show_default=False)
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", metavar="N", help="Texts that are computed together; by default 32, language models 4."
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="classification, token-classification, question-answering, embedding, causal-lm, masked-lm or seq2seq; "
        "by default what the class in config.json is for.",
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Decides everything that is drawn; the same seed, the same result.")
]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps; auto takes a GPU where there is one.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="BYTES",
        help="What the statistics may take at once, e.g. 2GB; with less, more passes, and the rest on disk.",
    ),
]
Statistics = Annotated[
    list[str] | None,
    typer.Option(
        "--statistics",
        metavar="DIR",
        help="Folder from infoprune collect to choose the units by, in place of a pass; may be repeated.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT, with all that is in it, if it exists.")]


def number(option: str, text: str, example: str) -> float:
    """Read an option's value as a number.

    Raises:
        InputError: It is none.

    Example:
        >>> number("--keep", "half", "0.5")
        Traceback (most recent call last):
        infoprune.errors.InputError: --keep is 'half', expected a number; pass e.g. --keep 0.5
    """
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} is {text!r}, expected a number; pass e.g. {option} {example}") from None


def budget(text: str | None, allocation: str | None, *, depth: bool = False) -> "Budget | None":
    """Read --budget, --allocation and --depth.

    Raises:
        InputError: One of them makes no sense.

    Example:
        >>> budget("flops=0.4", None)
        Budget(quantity='flops', amount=0.4, allocation=None)
    """
    if text is None:
        if allocation is not None:
            raise InputError("--allocation divides a budget, and none was given; pass e.g. --budget flops=0.5")
        if depth:
            raise InputError(
                "--depth lets a budget drop whole blocks, and none was given; pass e.g. --budget flops=0.2"
            )
        return None
    from infoprune.budgets.budget import read_budget

    return replace(read_budget(text, allocation), depth=depth)


def tolerance(max_loss: str | None, max_kl: str | None) -> "Tolerance | None":
    """Read --max-loss or --max-kl.

    Raises:
        InputError: Both are given, or one cannot be read.

    Example:
        >>> tolerance("accuracy=0.5", None)
        Tolerance(metric='accuracy', most=0.5)
    """
    if max_loss is None and max_kl is None:
        return None
    if max_loss is not None and max_kl is not None:
        raise InputError("--max-loss and --max-kl were given, expected one; leave one out")
    from infoprune.search import Tolerance

    if max_kl is not None:
        return Tolerance("kl", number("--max-kl", max_kl, "0.05"))
    metric, _, most = str(max_loss).partition("=")
    return Tolerance(metric.strip(), number("--max-loss", most, "accuracy=0.5"))


def dropped_tokens(text: str | None) -> "Dropped | None":
    """Read --dropped-tokens.

    Raises:
        InputError: Nothing of that name can become of a dropped token.

    Example:
        >>> dropped_tokens("nearest")
        'nearest'
    """
    from infoprune.vocabulary.dropped import DROPPED

    for name in DROPPED:
        if text == name:
            return name
    if text is None:
        return None
    raise InputError(f"--dropped-tokens is {text!r}, expected one of: {', '.join(DROPPED)}; or leave it out")


def shape(text: str) -> "Form":
    """Read --shape.

    Raises:
        InputError: There is no such shape.

    Example:
        >>> shape("uniform")
        'uniform'
    """
    from infoprune.settings import FORMS

    for form in FORMS:
        if text == form:
            return form
    raise InputError(f"--shape is {text!r}, expected one of: {', '.join(FORMS)}")


def names(text: str | None) -> tuple[str, ...] | None:
    """Split a list of names at its commas.

    Example:
        >>> names("ffn, heads")
        ('ffn', 'heads')
    """
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def memory(text: str | None) -> int | None:
    """Read --memory.

    Raises:
        InputError: It is no amount of memory.

    Example:
        >>> memory("2GB")
        2000000000
    """
    if text is None:
        return None
    from infoprune.budgets.budget import read_bytes

    return read_bytes(text)


def integers(option: str, text: str) -> tuple[int, ...]:
    """Read an option's value as whole numbers between commas.

    Raises:
        InputError: One is none.

    Example:
        >>> integers("--batch-size", "1, 32")
        (1, 32)
    """
    try:
        return tuple(int(part) for part in names(text) or ())
    except ValueError:
        raise InputError(f"{option} is {text!r}, expected whole numbers; pass e.g. {option} 1,32") from None
