"""Cells of an experiment: each is a JSON line and is computed once, so a long run can be stopped and resumed."""

import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from experiments.made_by import made_by

console = Console()

OLDER_REPAIR = (
    "The repair now re-fits the query and key projections as well as the value projections. Most cells are older than",
    "this change, which lowers the KL by 4 % (mean of three seeds, validation reviews, keep 1/4;",
    "[ablation.md](ablation.md)). All cells are older than the re-fit of neurons to the output of their reader, which",
    "the repair does where there are many calibration tokens ([neurons.md](neurons.md)).",
    "",
)
"""Note on the pages whose cells are older than these changes."""


def cells(path: Path) -> list[dict]:
    """Return all stored cells."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def cell(path: Path, key: dict, compute: Callable[[], dict]) -> dict:
    """Return the cell with this key, from the file or computed and appended to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stored in cells(path):
        if all(stored.get(name) == value for name, value in key.items()):
            return stored
    console.print("computing", key)
    result = {**key, **compute(), "made_by": made_by()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    return result
