"""Runs the cells of a notebook from top to bottom and writes what they print into it; no Jupyter is needed.

Run: python -m experiments.run_notebook docs/tour.ipynb
"""

import contextlib
import io
import json
import sys
from pathlib import Path


def run_notebook(file: Path) -> dict:
    """The notebook, its outputs made anew."""
    notebook, names, number = json.loads(file.read_text(encoding="utf-8")), {"__name__": "__main__"}, 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
            lines = printed.getvalue().splitlines(keepends=True)
            cell["execution_count"] = number
            cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []
    return notebook


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.write_text(json.dumps(run_notebook(place), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
