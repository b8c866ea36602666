"""The code of the README, of the start page and of the FAQ runs as it stands there, on a tiny model and a few texts."""

import json
import re
import shlex
from pathlib import Path

import pytest
from rows import NEGATIVE, POSITIVE, write_rows

import infoprune
from infoprune.cli import main

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?P<note><!-- not run[^\n]*\n)?```(?P<language>bash|python)\n(?P<code>.*?)```", re.DOTALL)


def blocks(page):
    """(language, code) of every block of a page that is to be run."""
    found = BLOCK.finditer((ROOT / page).read_text(encoding="utf-8"))
    return [(block["language"], block["code"]) for block in found if not block["note"]]


def run(page):
    """Run a page from top to bottom; the names that its Python has defined."""
    names = {}
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, page, "exec"), names)
            continue
        for line in code.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "infoprune", line
            assert main(arguments) == 0, line
    return names


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_bert, tokenizer):
    """The folder that the pages start from: a classifier, texts without labels and texts with them."""
    monkeypatch.chdir(tmp_path)
    tiny_bert.save_pretrained("my-classifier")
    tokenizer.save_pretrained("my-classifier")
    words = (*POSITIVE, *NEGATIVE)
    texts = [
        f"the {noun} is {first} and very {second}" for noun in ("film", "plot") for first in words for second in words
    ]
    write_rows(tmp_path / "texts.csv", [(text,) for text in texts], columns=("text",))
    write_rows(tmp_path / "valid.csv", [(text, int(text.split()[3] in POSITIVE)) for text in texts])
    return tmp_path


def report(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_the_readme_runs(place):
    assert [language for language, _ in blocks("README.md")] == ["bash", "python"]
    names = run("README.md")
    made = report(place / "smaller")
    assert made["pruned"]["flops"] <= made["dense"]["flops"] / 2
    plans = [json.loads((place / folder / "plan.json").read_text()) for folder in ("smaller", "smaller-python")]
    assert plans[0]["kept"] == plans[1]["kept"], "the command and the Python do the same"
    assert type(names["smaller"]) is type(names["model"])
    assert names["smaller"].num_parameters() == made["pruned"]["parameters"] < names["model"].num_parameters()


def test_the_start_page_runs_and_keeps_what_it_promises(place):
    names = run("docs/index.md")
    share = names["result"].report.pruned.flops / names["result"].report.dense.flops
    assert share <= 0.5
    loads = {name: report(place / name)["loads_in"] for name in ("smaller", "smaller-uniform", "smaller-ffn")}
    assert loads == {"smaller": "infoprune", "smaller-uniform": "transformers", "smaller-ffn": "transformers"}
    assert isinstance(names["smaller"], infoprune.load("my-classifier").__class__)
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    table = page.partition("## What the output folder holds")[2].partition("\n## ")[0]
    files = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    assert files == {file.name for file in (place / "smaller").iterdir()}


def test_the_faq_runs(place):
    assert blocks("docs/faq.md")
    run("docs/faq.md")
