from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from reports import REPORT

from infoprune.reports.card import PIPELINES, base_model, card
from infoprune.reports.render import markdown
from infoprune.tasks.table import TASKS


def test_metadata_are_read_back_by_the_hub():
    data = ModelCard(card(replace(REPORT, base_model="nreimers/MiniLM-L6-H384-uncased"))).data
    assert data.library_name == "infoprune"
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "nreimers/MiniLM-L6-H384-uncased"
    assert data.metrics == ["accuracy", "mse"]
    assert {"infoprune", "pruned", "bert"} <= set(data.tags)


def test_what_is_not_known_is_left_out():
    bare = replace(REPORT, loads_in="transformers", kl=None, pruned=replace(REPORT.pruned, metrics={}))
    text = card(bare)
    data = ModelCard(text).data
    assert data.library_name == "transformers"
    assert data.get("base_model") is None
    assert data.get("metrics") is None
    assert "null" not in text.split("---")[1]
    assert "was not evaluated" in text
    assert "was not evaluated" not in card(REPORT)


def test_the_card_says_all_that_the_report_says():
    text = card(replace(REPORT, base_model="owner/name"))
    for line in markdown(REPORT).splitlines():
        assert line in text
    assert "from [owner/name](https://huggingface.co/owner/name)" in text
    assert "from a dense model" in card(REPORT)


def test_every_task_has_a_pipeline():
    assert PIPELINES.keys() == {task.name for task in TASKS}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nreimers/MiniLM-L6-H384-uncased", True),
        ("bert-base-uncased", False),
        ("/home/me/model", False),
        ("../model", False),
        ("./model", False),
        ("a/b/c", False),
        ("a/b c", False),
        ("", False),
        (None, False),
        (3, False),
    ],
)
def test_a_name_on_the_hub_is_an_owner_and_a_name(name, found):
    assert base_model({"_name_or_path": name}) == (name if found else None)


def test_a_folder_is_no_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    assert base_model({"_name_or_path": "runs/demo"}) is None
    assert base_model({}) is None
