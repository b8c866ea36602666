"""What the reference says of the public names is complete, and its examples run."""

import doctest
import inspect
import re
from dataclasses import is_dataclass

import pytest
from rows import NEGATIVE, POSITIVE, write_rows
from tiny_bert import build_tiny_bert, build_tokenizer
from tiny_decoder import build_decoder, build_words

import infoprune

NAMES = sorted(infoprune.__all__)
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(infoprune, name))]
SECTIONS = "Args|Returns|Raises|Examples|Attributes"


def section(name, title):
    """The lines of a section of a docstring, without the indentation of the section."""
    text = inspect.getdoc(getattr(infoprune, name)) or ""
    found = re.search(rf"^{title}:\n(.*?)(?=^(?:{SECTIONS}):$|\Z)", text, re.MULTILINE | re.DOTALL)
    return "" if found is None else inspect.cleandoc(found[1])


def parameters(name):
    return [each for each in inspect.signature(getattr(infoprune, name)).parameters if each != "self"]


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_described(name):
    made = getattr(infoprune, name)
    if not (inspect.isfunction(made) or is_dataclass(made)):
        pytest.skip("takes no arguments of its own")
    described = re.findall(r"^(\w+): ", section(name, "Args"), re.MULTILINE)
    assert described == parameters(name)
    for text in re.findall(r"^\w+: (.*(?:\n +.*)*)", section(name, "Args"), re.MULTILINE):
        assert text[0].isupper() or not text[0].isalpha(), f"{text!r} begins like all others, with a capital letter"
        assert text.rstrip().endswith("."), f"{text!r} ends like all others, with a full stop"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_returned_is_described(name):
    returns = inspect.signature(getattr(infoprune, name)).return_annotation
    assert bool(section(name, "Returns")) == (returns not in (None, "None"))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a classifier and labelled texts, and the names that examples use."""
    monkeypatch.chdir(tmp_path)
    model, tokenizer = build_tiny_bert(), build_tokenizer()
    model.save_pretrained("my-classifier")
    tokenizer.save_pretrained("my-classifier")
    words = (*POSITIVE, *NEGATIVE)
    rows = [(f"the film is {a} and {b} and {c}", int(a in POSITIVE)) for a in words for b in words for c in words]
    write_rows(tmp_path / "reviews.csv", rows)
    texts = infoprune.read_texts("reviews.csv")
    batches = infoprune.make_batches(texts, tokenizer)
    labels = [int(label) for label in texts.labels]
    return {
        **{name: getattr(infoprune, name) for name in NAMES},
        "infoprune": infoprune,
        "model": model,
        "tokenizer": tokenizer,
        "language_model": build_decoder(),
        "its_tokenizer": build_words(),
        "texts": texts,
        "batches": batches,
        "eval_batches": infoprune.make_batches(texts, tokenizer, labels=labels),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_the_example_runs(name, workplace):
    text = inspect.getdoc(getattr(infoprune, name)) or ""
    (example,) = [doctest.DocTestParser().get_doctest(text, workplace, name, None, None)]
    assert example.examples, f"{name} has no example"
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)
