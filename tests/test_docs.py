"""The figures in the README are those that a command has written."""

import json
import re
from pathlib import Path

from experiments.run_notebook import run_notebook

ROOT = Path(__file__).parent.parent


def rows(page):
    return [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]


def test_readme_table_is_the_results_page_s():
    assert rows("README.md") == rows("docs/results.md")


def test_readme_names_the_dense_accuracy_of_the_results_page():
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    (dense,) = re.findall(r"Dense accuracy: ([0-9.]+)%", results)
    assert f"The dense model has {dense} %" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_of_the_docs_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_tour_runs_from_top_to_bottom():
    file = ROOT / "docs" / "tour.ipynb"
    cells = run_notebook(file)["cells"]
    printed, written = (
        ["".join("".join(out["text"]) for out in cell.get("outputs", ())) for cell in each]
        for each in (cells, json.loads(file.read_text(encoding="utf-8"))["cells"])
    )
    assert printed[-1].endswith("True\n")
    # Other processors add in another order, so the last digits may differ; what is said is the same.
    assert [re.sub(r"[\d., ]+", "", text) for text in printed] == [re.sub(r"[\d., ]+", "", text) for text in written]
    random, chosen, repaired = map(float, re.findall(r"KL ([\d.]+) nats", "".join(printed)))
    assert max(chosen, repaired) < random / 3
