"""The notebook runs from top to bottom, and what it shows is so."""

import json
from pathlib import Path

import pytest

TOUR = Path(__file__).parent.parent / "docs" / "tour.ipynb"


@pytest.mark.slow
def test_the_tour_runs_and_the_repair_helps():
    cells = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
    seen = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # what it prints is made where it is read
            exec("".join(cell["source"]), seen)
    assert seen["same"] is True
    assert seen["alike"] > 0.9
    bare = seen["torch"].cosine_similarity(
        *(seen["embed"](each, seen["held_out"][0]) for each in (seen["model"], seen["plain"]))
    )
    assert float(bare.mean()) < seen["alike"]
