"""The figures in the README are those that a command has written."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def rows(page):
    return [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]


def test_readme_table_is_the_results_page_s():
    assert rows("README.md") == rows("docs/research/results.md")


def test_readme_names_the_dense_accuracy_of_the_results_page():
    results = (ROOT / "docs" / "research/results.md").read_text(encoding="utf-8")
    (dense,) = re.findall(r"Dense accuracy: ([0-9.]+)%", results)
    assert f"The dense model has {dense} %" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_of_the_docs_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
