"""`infoprune families`."""

from typing import Annotated

import typer
from rich.table import Table

from infoprune.cli.console import stdout
from infoprune.structure.catalogue import COLUMNS, catalogue, catalogue_markdown


def families_command(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/concepts/families.md.")
    ] = False,
) -> None:
    """List the supported model types, the structures that can be cut, and the library that loads the result.

    Models whose layers were cut to different sizes load only in infoprune.
    """
    if as_markdown:
        stdout().print(catalogue_markdown(), soft_wrap=True, end="", markup=False, highlight=False)
        return
    table = Table(*COLUMNS)
    for entry in catalogue():
        table.add_row(entry.model_type, entry.models, entry.structure, entry.unit, entry.opens, entry.repair)
    stdout().print(table)
