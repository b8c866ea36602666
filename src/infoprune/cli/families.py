"""`infoprune families`."""

from typing import Annotated

import typer
from rich.table import Table

from infoprune.cli.console import stdout
from infoprune.structure.catalogue import COLUMNS, catalogue, markdown


def families_command(
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/families.md.")] = False,
) -> None:
    """List the supported model types, what can be cut in them, and what opens the result.

    A cut that is not the same in every layer loads in infoprune only.
    """
    if as_markdown:
        stdout().print(markdown(), soft_wrap=True, end="", markup=False, highlight=False)
        return
    table = Table(*COLUMNS)
    for entry in catalogue():
        table.add_row(entry.model_type, entry.models, entry.kind, entry.unit, entry.opens, entry.repair)
    stdout().print(table)
