from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from reports import REPORT

from infoprune.reports.card import PIPELINES, card, renamed
from infoprune.reports.origin import Origin, read_origin
from infoprune.reports.render import markdown
from infoprune.reports.report import SENTENCE_TRANSFORMERS
from infoprune.tasks.table import TASKS


def test_metadata_are_read_back_by_the_hub():
    data = ModelCard(card(replace(REPORT, base_model="nreimers/MiniLM-L6-H384-uncased"))).data
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "nreimers/MiniLM-L6-H384-uncased"
    assert data.metrics == ["accuracy", "mse"]
    assert {"infoprune", "pruned", "bert"} <= set(data.tags)


def test_what_is_not_known_is_left_out():
    bare = replace(REPORT, loads_in="transformers", kl=None, agreement=None, pruned=replace(REPORT.pruned, metrics={}))
    text = card(bare)
    data = ModelCard(text).data
    for name in ("base_model", "metrics", "license", "language"):
        assert data.get(name) is None
    assert "null" not in text.split("---")[1]
    assert "was not evaluated" in text
    assert "was not evaluated" not in card(REPORT)
    assert "was not evaluated" not in card(replace(bare, agreement=0.9)), "an embedding has a cosine and no KL"
    numbers = card(replace(bare, correlation=0.9052, squared_difference=0.002))
    assert "was not evaluated" not in numbers
    assert "| correlation to dense |  | 0.9052 |  |" in numbers
    assert "| squared difference to dense |  | 0.0020 |  |" in numbers


def test_the_card_says_all_that_the_report_says():
    text = card(replace(REPORT, base_model="owner/name"), name="half")
    for line in markdown(REPORT, "half").splitlines():
        assert line in text
    assert "from [owner/name](https://huggingface.co/owner/name)" in text
    assert "from a dense model:" in card(REPORT)


def test_every_task_has_a_pipeline():
    assert PIPELINES.keys() == {task.name for task in TASKS}


def test_a_folder_of_sentence_transformers_is_shown_as_one():
    report = replace(REPORT, task="embedding", library=SENTENCE_TRANSFORMERS)
    for loads_in, first in (("infoprune", ["import infoprune"]), ("transformers", [])):
        text = card(replace(report, loads_in=loads_in), name="half")
        data = ModelCard(text).data
        assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
        code = text.partition("```python\n")[2].partition("```")[0].splitlines()
        assert [line.partition("  #")[0] for line in code if line] == [
            *first,
            "from sentence_transformers import SentenceTransformer",
            'model = SentenceTransformer("half")',
        ]


SOURCE = """---
language: {language}
license: apache-2.0
library_name: sentence-transformers
tags:
- sentence-transformers
- onnx
- pruned
- feature-extraction
base_model: {base}
model-index: nonsense
---
# A model
"""


@pytest.fixture
def origin(tmp_path):
    def read(text):
        (tmp_path / "README.md").write_text(text)
        return read_origin(tmp_path)

    return read


def test_licence_languages_and_tags_of_the_source_are_carried_over(origin):
    data = ModelCard(card(REPORT, origin(SOURCE.format(language="en", base="microsoft/mpnet-base")))).data
    assert (data.license, data.language, data.base_model) == ("apache-2.0", ["en"], "microsoft/mpnet-base")
    assert {"infoprune", "bert", "sentence-transformers", "feature-extraction"} <= set(data.tags)
    assert "onnx" not in data.tags, "a format that the new folder does not have"
    assert len(data.tags) == len(set(data.tags))


def test_a_licence_of_its_own_comes_with_its_name_and_address(origin):
    found = origin("---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\nlanguage: [no, sv]\n---\n")
    assert found == Origin("other", "mine", "LICENSE", ("no", "sv"))
    assert ModelCard(card(REPORT, found)).data.license_link == "LICENSE"


def test_the_name_on_the_hub_goes_before_the_base_that_the_source_names(origin):
    found = origin(SOURCE.format(language="[en, de]", base="microsoft/mpnet-base"))
    given = card(replace(REPORT, base_model="sentence-transformers/all-mpnet-base-v2"), found)
    assert ModelCard(given).data.base_model == "sentence-transformers/all-mpnet-base-v2"
    assert "mpnet-base)" not in given
    assert "from a dense model based on [microsoft/mpnet-base]" in card(REPORT, found)


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ("owner/name", "owner/name"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("[a/b, c/d]", None),
        ("/home/me/model", None),
        ("../model", None),
        ("a/b/c", None),
        ("a/b c", None),
        ("3", None),
        ("", None),
    ],
)
def test_a_base_is_one_name_on_the_hub(origin, base, found):
    assert origin(SOURCE.format(language="en", base=base)).base_model == found


def test_a_card_without_metadata_is_no_error(origin, tmp_path):
    assert read_origin(tmp_path / "none") == Origin()
    assert origin("# A model\n") == Origin()
    with pytest.warns(UserWarning, match=r"README\.md cannot be read .*names no licence"):
        assert origin("---\nlicense: [\n---\n") == Origin()
    assert origin("---\nlicense: [mit]\nlanguage: {a: b}\ntags: {}\n---\n") == Origin()


def test_the_name_in_the_code_changes_and_nothing_else():
    text = card(REPORT, name="half")
    new = renamed(text, "half", "owner/half")
    assert 'AutoModelForSequenceClassification.from_pretrained("owner/half")' in new
    assert new.replace('("owner/half")', '("half")') == text
