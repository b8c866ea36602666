"""Cells of an experiment: each is a JSON line, computed once, so that a long run can be stopped and taken up again."""

import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

console = Console()

OLDER_REPAIR = (
    "The repair now re-fits an attention's queries and keys as well as its values. Most of the cells are from before",
    "that: at keep 1/4 on validation reviews it takes 4 % off the KL, in the mean of three draws",
    "([ablation.md](ablation.md)). All are from before it re-fitted neurons to what their reader has to say, which it",
    "does where calibration tokens are many ([neurons.md](neurons.md)).",
    "",
)
"""Said on pages whose cells are older than that."""


def cells(path: Path) -> list[dict]:
    """All cells that there are."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def cell(path: Path, key: dict, compute: Callable[[], dict]) -> dict:
    """The cell with this key, from the file or computed and appended to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stored in cells(path):
        if all(stored.get(name) == value for name, value in key.items()):
            return stored
    console.print("computing", key)
    result = {**key, **compute()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    return result
