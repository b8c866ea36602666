"""Every message that the troubleshooting page quotes is in the sources, in the words of the command line."""

import ast
import functools
import re
from pathlib import Path

import typer

from infoprune.cli import app
from infoprune.cli.spoken import as_options

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
GAP = "…"
QUOTES = re.findall(r"^> `(.+)`$", PAGE, re.MULTILINE)


def options():
    commands = typer.main.get_command(app).commands.values()
    return frozenset(
        name for command in commands for each in command.params for name in (*each.opts, *each.secondary_opts)
    )


def named(tree):
    """The texts that a module gives a name, such as DEBUG."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    return {node.targets[0].id: node.value.value for node in assigned if isinstance(node.targets[0], ast.Name)}


def template(node, names):
    """A text of the sources, with a gap for every value that is put into it; None if the node is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(names.get(getattr(each.value, "id", None), GAP)) if isinstance(each, ast.FormattedValue) else each.value
            for each in node.values
        )
    return None


@functools.cache
def messages():
    """All texts of the sources as the command line prints them."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "src").rglob("*.py"))]
    names = {name: value for tree in trees for name, value in named(tree).items()}
    texts = {template(node, names) for tree in trees for node in ast.walk(tree)}
    known = options()
    return [as_options(text, known) for text in sorted(text for text in texts if text and " " in text)]


def has(message, quote):
    """Whether the constant parts of a quote stand in a message, in their order."""
    start = 0
    for part in filter(None, (part.strip() for part in quote.split(GAP))):
        start = message.find(part, start)
        if start < 0:
            return False
        start += len(part)
    return True


def test_quoted_messages_are_those_of_the_sources():
    assert [quote for quote in QUOTES if not any(has(message, quote) for message in messages())] == []


def test_the_page_has_a_remedy_for_every_message():
    sections = PAGE.split("\n### ")[1:]
    assert len(QUOTES) >= 25
    assert len(set(QUOTES)) == len(QUOTES)
    for section in sections:
        if "\n> `" in section:
            assert "**What to do.**" in section, section.splitlines()[0]


def test_a_quote_that_no_source_has_is_found():
    assert not any(has(message, "there is no such message …, expected none") for message in messages())
    assert has(as_options("`max_length` is 5, expected 3", options()), "--max-length is …, expected …")
