"""`infoprune families`."""

from rich.table import Table

from infoprune.cli.console import stdout
from infoprune.families import FAMILIES


def families_command() -> None:
    """List the supported model types, what can be cut in them, and what opens the result."""
    table = Table()
    for name in ("model type", "site", "after a cut loads in"):
        table.add_column(name)
    for model_type, family in FAMILIES.items():
        for row in family.sites:
            opens = "infoprune only" if row.config is None else f"transformers (config field {row.config})"
            table.add_row(model_type, row.kind, opens)
    stdout().print(table)
