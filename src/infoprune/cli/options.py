"""Arguments and options that several commands share."""

from typing import Annotated

import typer

from infoprune.errors import InputError

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Folder of a model and its tokenizer.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="New folder for the result; it appears whole or not at all.")]
Data = Annotated[
    str, typer.Option("--data", metavar="FILE", help="File of texts: csv, tsv, json, jsonl, parquet or txt.")
]
Eval = Annotated[
    str | None, typer.Option("--eval", metavar="FILE", help="File of texts and labels to score the result on.")
]
Text = Annotated[
    str | None,
    typer.Option("--text", metavar="COL", help="Column of the texts; 'text' or 'sentence' is found without it."),
]
TextPair = Annotated[
    str | None, typer.Option("--text-pair", metavar="COL", help="Column of the second texts, for tasks on two texts.")
]
Label = Annotated[
    str | None, typer.Option("--label", metavar="COL", help="Column of the labels; 'label' is found without it.")
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="N", help="Cut texts after so many tokens.", show_default=False)
]
BatchSize = Annotated[int, typer.Option("--batch-size", metavar="N", help="Texts that are computed together.")]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Decides everything that is drawn; the same seed, the same result.")
]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps; auto takes a GPU where there is one.")
]
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


def names(text: str | None) -> tuple[str, ...] | None:
    """Split a list of names at its commas.

    Example:
        >>> names("ffn, heads")
        ('ffn', 'heads')
    """
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
