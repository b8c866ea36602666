"""List the cells that other code computed than that of today: python -m experiments.stale (exit code 1 if any)."""

import sys
from pathlib import Path

from rich.table import Table

from experiments.cells import cells, console
from experiments.made_by import sources

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Print, for every file of cells, how many are of the code of today."""
    table = Table(title=f"cells by the code that computed them; today {sources()}")
    for heading in ("cells", "of today", "of other code", "of unknown code"):
        table.add_column(heading, justify="left" if heading == "cells" else "right")
    total = 0
    for path in sorted(RESULTS.glob("*.jsonl")):
        found = [row.get("made_by", {}).get("sources") for row in cells(path)]
        today, unknown = found.count(sources()), found.count(None)
        table.add_row(path.stem, str(today), str(len(found) - today - unknown), str(unknown))
        total += len(found) - today
    console.print(table)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
