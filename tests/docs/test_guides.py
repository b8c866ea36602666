"""The code of every guide runs as it stands on the page, on tiny models, and does what the page says."""

import json
import re
import shlex
from pathlib import Path

import pytest
from workplace import MODELS, furnish

import infoprune
from infoprune.cli import app, main

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guides").glob("*.md"))
FENCE = re.compile(r"(?P<marker><!-- not run: [^\n]*-->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
SLOW = {"classifier", "pictures-and-speech", "scale", "serving", "translation"}


def blocks(page):
    """(language, code) of every fence that runs; a fence below a comment "not run: why" does not."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [(block["language"], block["code"]) for block in found if block["marker"] is None]


def commands(code):
    """The arguments of every infoprune command among lines of bash; other lines, such as pip's, are left out."""
    lines = [shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines()]
    return [line[1:] for line in lines if line[:1] == ["infoprune"]]


def run(page):
    """Run a page's blocks in their order, all of Python in one namespace; the namespace."""
    seen = {}
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, f"{page.name}: {code.splitlines()[0]}", "exec"), seen)
        elif language == "bash":
            for arguments in commands(code):
                assert main(arguments) == 0, arguments
    return seen


def cases():
    return [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW)) for page in GUIDES]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", cases())
def test_a_guide_runs_as_it_stands(page, place, tokenizer, capfd):
    text = page.read_text(encoding="utf-8")
    furnish(place, [name for name in MODELS if re.search(rf"\b{name}\b", text)], tokenizer)
    seen = run(page)
    assert "error:" not in capfd.readouterr().err
    reports = {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in place.glob("*/report.json")}
    asked = {line[2]: line for _, code in blocks(page) for line in commands(code) if line[0] == "prune"}
    assert reports.keys() == asked.keys()
    for name, report in reports.items():
        sizes = [f for f in asked[name] if re.fullmatch(r"(flops|params)=[0-9.]+", f)]
        quantity, share = (sizes or ["flops=0.5"])[0].split("=")
        if {"--keep", "--max-kl", "--max-loss"}.isdisjoint(asked[name]):
            key = {"flops": "flops", "params": "parameters"}[quantity]
            assert report["pruned"][key] <= float(share) * report["dense"][key]
        infoprune.load(place / name)
    if (place / "half-python").exists():  # the same in Python is the same
        plans = [json.loads((place / name / "plan.json").read_text()) for name in ("half", "half-python")]
        assert plans[0]["kept"] == plans[1]["kept"]
    assert seen.get("ip", seen.get("infoprune")) is infoprune


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_has_what_a_reader_looks_for(page):
    text = page.read_text(encoding="utf-8")
    assert any(language == "python" for language, _ in blocks(page))
    assert "```bash" in text or "Python only" in text
    assert "## Pitfalls" in text
    assert "(../concepts/method.md)" in text or page.stem == "serving"
    assert "(../research/" in text


def test_the_guides_speak_of_every_command():
    text = "".join(page.read_text(encoding="utf-8") for page in GUIDES)
    missing = [each.name for each in app.registered_commands if f"infoprune {each.name}" not in text]
    assert missing == ["compare", "families"], "these two have pages of their own"


def test_what_is_not_run_is_told_from_what_is(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: why -->\n```bash\ninfoprune a\n```\n\n```bash\npip install x\ninfoprune b \\\n  c # d\n```\n"
    )
    ((language, code),) = blocks(page)
    assert language == "bash"
    assert commands(code) == [["b", "c"]]
