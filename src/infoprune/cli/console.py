"""Console: one-line messages, progress bars, and suppression of other libraries' output, for all commands."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

DEBUG = "INFOPRUNE_DEBUG"
"""Environment variable; if set, tracebacks and other libraries' warnings are shown."""


def complain(message: str, status: int) -> int:
    """Write an error as one line on stderr and return the exit code."""
    _line("error", message)
    return status


def stdout() -> Console:
    """Return the console for results; lines for a file or a pipe are not wrapped at the terminal's size."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


@contextmanager
def clean_warnings(spoken: Callable[[str], str]) -> Iterator[None]:
    """Show warnings for users as one line each, and warnings for developers only when debugging.

    Args:
        spoken: Function that rewrites the message for the command line.
    """

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        _line("warning", spoken(str(message)))

    with warnings.catch_warnings():
        if not os.environ.get(DEBUG):
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress bars on stderr, one per stage, removed at the end; show nothing where stderr is not a terminal."""
    _quiet_libraries()
    console = Console(stderr=True)
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), *times)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, of: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=of)
            progress.update(tasks[stage], completed=done, total=of)

        yield advance


def _quiet_libraries() -> None:
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    if not os.environ.get(DEBUG):
        logging.set_verbosity_error()
        logging.disable_progress_bar()  # those of huggingface_hub too
        hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        # for datasets, which is imported when a dataset is read
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("DATASETS_VERBOSITY", "error")


def _line(label: str, message: str) -> None:
    typer.echo(f"{label}: {' '.join(message.split())}", err=True)
