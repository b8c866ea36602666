"""Every notebook runs from top to bottom, and what it shows is so."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def cells(name):
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def ran(name):
    """The names that a notebook defines, after all of its cells."""
    seen = {}
    for cell in cells(name):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}, {cell['id']}", "exec"), seen)
    return seen


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    assert [cell["id"] for cell in book["cells"]] == [f"cell-{index}" for index in range(len(book["cells"]))]
    for cell in book["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # what it prints is made where it is read
            assert cell["execution_count"] is None
    assert any("plt.subplots" in "".join(cell["source"]) for cell in book["cells"])


@pytest.mark.slow
def test_the_classifier_loses_least_by_information_and_repair():
    seen = ran("classifier")
    assert seen["same"] is True
    assert seen["dense"].metrics["accuracy"] > 0.8
    assert seen["result"].report.pruned.flops <= 0.5 * seen["result"].report.dense.flops
    kl = {name: found[1] for name, found in seen["points"].items()}
    assert kl["information"] < 1.2 * kl["information, no repair"], "few texts, and little is left to repair here"
    assert kl["information"] < kl["magnitude"]
    assert seen["half"][1] < kl["information"], "half loses less than a quarter"


@pytest.mark.slow
def test_the_embeddings_are_nearer_after_the_repair():
    seen = ran("embeddings")
    assert seen["same"] is True
    assert seen["repaired"].mean() > 0.9
    assert seen["unrepaired"].mean() < seen["repaired"].mean(), "the repair helps"
    assert seen["result"].report.pruned.flops <= 0.5 * seen["result"].report.dense.flops


@pytest.mark.slow
def test_the_language_model_is_nearer_after_the_repair():
    seen = ran("language-model")
    assert seen["same"] is True
    assert seen["half"].report.pruned.flops <= 0.5 * seen["half"].report.dense.flops
    repaired, bare, magnitude = (seen["curves"][name] for name in seen["ways"])
    assert repaired[-1] < bare[-1], "the repair helps"
    assert repaired[-1] < magnitude[-1]
