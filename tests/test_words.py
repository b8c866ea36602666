"""One word for one thing: the field's words, as docs/concepts/glossary.md has them, in sources, docs and help."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from infoprune.cli import app

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))

# Word of the dialect that this project once spoke: the field's word.
RETIRED = {
    r"worths?|worth_\w+|\w+_worth": "token importance",
    r"demand(s|ed|ing)?": "output Fisher information",
    r"temper(s|ed|ing)?": "Huber weights",
    r"floors?": "smoothing of the importance",
    r"pull(s|ed|ing)?": "backpropagate",
    r"bend(s|ing)?": "activation function",
    r"copies": "augmentation by token replacement",
    r"stand[-_ ]ins?|stands? in|nearest[-_ ]rows?": "token remapping",
    r"questions|judges?|judged|judging": "evaluation batches, evaluation texts, scored",
    r"kinds?": "type of structure",
    r"widths?|layer[-_]width": "hidden size, hidden size per layer",
    r"lessons?": "distillation loss",
    r"loud(ness)?|hears?|heard|feels?|felt": "activation norm, accumulate",
    r"draws?|drawn|drawing": "seed, sample",
    r"rivals?": "baseline",
}
# What remains, and why: it is somebody else's name, or English that no term of the field replaces.
ALLOWED = (
    r"math\.floor",
    r"pull request",
    r"kind=inspect\.",  # a parameter of the standard library
    r"width=(None|[0-9])",  # of rich's console, of a picture's element
    r"[\"']?(line|stroke-|max-|min-)width",  # of matplotlib and of style sheets
    r"height, width",  # of a picture
    r"width: ?[0-9]",  # of style sheets
    r"viewBox.*width",
    r"\"width\", \"stand_ins\"  # names in files of version 1",
)
QUESTIONS = "question-answering.md"  # the one page whose readers have questions


def offences(text, allowed=ALLOWED):
    """(line number, word, line) of every retired word in a text."""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = re.sub("|".join(allowed), "", line, flags=re.IGNORECASE)
        for pattern in RETIRED:
            for found in re.finditer(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", bare, re.IGNORECASE):
                yield number, found[0], line.strip()


def shown(found):
    return "\n".join(f"{number}: {word!r} in {line[:140]}" for number, word, line in found)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_sources_speak_the_words_of_the_field(path):
    found = list(offences(path.read_text(encoding="utf-8")))
    assert not found, shown(found)


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docs_speak_the_words_of_the_field(path):
    allowed = (*ALLOWED, "questions") if path.name == QUESTIONS else ALLOWED
    found = list(offences(path.read_text(encoding="utf-8"), allowed))
    assert not found, shown(found)


def test_help_speaks_the_words_of_the_field(capsys):
    from infoprune.cli import main

    for name in [None, *(command.name for command in app.registered_commands)]:
        assert main([*([name] if name else []), "--help"]) == 0
        found = list(offences(capsys.readouterr().out))
        assert not found, f"{name}: {shown(found)}"


def test_the_check_finds_what_it_looks_for():
    for line in ("the worth of a token", "stand-in", "its Width", "two draws", "token_worth", "a rival's"):
        assert list(offences(line)), line
    assert not list(offences("height, width = image_size; math.floor(2.5); kindly; undrawable; bandwidth"))


def test_a_class_has_a_name_of_its_own():
    homes = defaultdict(set)
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].add(path.relative_to(ROOT).as_posix())
    assert {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1} == {}


def test_a_public_function_has_a_name_of_its_own():
    homes = defaultdict(set)
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                homes[node.name].add(path.relative_to(ROOT).as_posix())
    assert {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1} == {}
