"""The table of popular models in the docs says what the code finds in a model of each type and class."""

from functools import cache
from pathlib import Path

import pytest
from zoo import build

from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.structure.sites import find_sites

PAGE = Path(__file__).parent.parent.parent / "docs" / "concepts" / "families.md"
CLASSES = {
    "embeddings": ("AutoModel", {}),
    "classifier": ("AutoModelForSequenceClassification", {}),
    "picture classifier": ("AutoModelForImageClassification", {}),
    "sound classifier": ("AutoModelForAudioClassification", {}),
    "transcriber": ("AutoModelForCTC", {}),
    "encoder-decoder of speech": ("AutoModelForSpeechSeq2Seq", {}),
    "language model of pictures": ("AutoModelForImageTextToText", {}),
    "projected text": ("CLIPTextModelWithProjection", {}),
    "projected picture": ("CLIPVisionModelWithProjection", {}),
    "language model": ("AutoModelForCausalLM", {"tie_word_embeddings": False}),
    "language model, tied": ("AutoModelForCausalLM", {"tie_word_embeddings": True}),
    "sequence to sequence": ("AutoModelForSeq2SeqLM", {}),
}


def rows():
    """Cells of the table: model, model type, opened as, by default, on request, blocks, what keeps the rest."""
    text = PAGE.read_text(encoding="utf-8").split("## Popular models")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def found_in(model_type, opened_as):
    """The cells of what can be cut, for a tiny model of that type and class."""
    auto, settings = CLASSES[opened_as]
    model, family = build(model_type, auto=auto, **settings), FAMILIES[model_type]
    more = [name for name in family.more_structures if can_be_cut(model, name)]
    blocks = dict.fromkeys(site.structure for site in find_sites(model) if site.least == 0)
    return [", ".join(names) or "none" for names in (family.structures, more, blocks)]


def can_be_cut(model, structure):
    try:
        return bool(find_sites(model, [structure]))
    except InputError:
        return False


def test_the_table_is_there():
    assert len(rows()) >= 30
    assert {row[2] for row in rows()} - CLASSES.keys() <= {""}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].split(", ")[0])
def test_the_docs_say_what_can_be_cut(row):
    _, model_type, opened_as, *cut, why = row
    model_type = model_type.strip("`")
    if not opened_as:
        assert model_type not in FAMILIES or "code in the model's repository" in why
        assert (cut, bool(why)) == (["none"] * 3, True)
        return
    assert cut == found_in(model_type, opened_as)
    whole = "hidden-size-per-layer" in cut[1]
    assert whole != bool(why), "a reason belongs to what is not cut, and only there"


def test_no_model_stands_there_twice():
    names = [name for row in rows() for name in row[0].split(", ")]
    assert len(names) == len(set(names))
