"""The command line with a local hub: a model and texts by name, and the result pushed and opened again."""

import json

import pytest
from hub_cache import files_of
from hub_contents import Repo
from huggingface_hub import ModelCard
from rows import POSITIVE, TEXTS

from infoprune.checkpoint import save


@pytest.fixture
def model(saved_bert):
    """The files of a tiny classifier with a card."""
    card = b"---\nlicense: mit\nlanguage: en\ntags: [reviews, onnx]\n---\n# A classifier\n"
    return {**files_of(saved_bert), "README.md": card, "modeling.py": b"raise SystemExit"}


@pytest.fixture
def reviews(hub):
    """Labelled texts on the hub, whose classes have names that the model does not know."""
    readme = """---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names: {'0': negative, '1': positive}
configs:
- config_name: default
  data_files:
  - {split: train, path: train.jsonl}
  - {split: test, path: test.jsonl}
---
"""
    rows = "".join(json.dumps({"text": text, "label": int(text.split()[3] in POSITIVE)}) + "\n" for text in TEXTS)
    hub.hub.datasets[hub.name] = Repo(
        {"main": {"README.md": readme.encode(), "train.jsonl": rows.encode(), "test.jsonl": rows.encode()}}
    )
    return hub.name


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_a_model_goes_from_the_hub_to_the_hub(hub, add, model, reviews, tmp_path):
    name, out = add(model), tmp_path / "half"
    run = hub.client.call
    status, printed, err = run("command", "prune", name, out, "--data", reviews, "--eval", reviews, "--keep", "0.5")
    assert (status, [line for line in err.splitlines() if "calibration tokens" not in line]) == (0, [])
    assert "modeling.py" not in hub.hub.fetched(name)
    report = json.loads((out / "report.json").read_text())
    assert report["base_model"] == name
    assert report["pruned"]["metrics"].keys() == {"accuracy", "macro_f1"}, "classes 0 and 1 are the model's"

    status, printed, err = run("command", "push", out, "owner/half", token="writer")
    assert (status, err) == (0, "")
    assert f"to {hub.url}/owner/half (private)." in printed
    repo = hub.hub.models["owner/half"]
    assert repo.private
    assert repo.messages == ["Upload a pruned model"]
    pushed = repo.revisions["main"]
    assert pushed["model.safetensors"] == (out / "model.safetensors").read_bytes()
    assert {"config.json", "tokenizer.json", "plan.json", "report.json", "report.html", "sizes.png"} <= set(pushed)

    card = ModelCard(pushed["README.md"].decode())
    assert (card.data.base_model, card.data.license, card.data.language) == (name, "mit", ["en"])
    assert {"infoprune", "reviews"} <= set(card.data.tags)
    assert "onnx" not in card.data.tags
    assert 'AutoModelForSequenceClassification.from_pretrained("owner/half")' in card.text
    assert 'from_pretrained("half")' in (out / "README.md").read_text(), "the local card names the local folder"

    status, printed, err = run(
        "command", "evaluate", "owner/half", "--eval", f"{reviews}:test", "--json", token="writer"
    )
    assert (status, err) == (0, "")
    assert json.loads(printed)["metrics"] == report["pruned"]["metrics"]
    assert json.loads(printed)["model"] == "owner/half"
    status, printed, err = run("command", "report", "owner/half", token="writer")
    assert (status, err) == (0, "")
    assert "units kept" in printed


def test_only_files_of_the_model_are_pushed(hub, saved_bert):
    expected = {*files_of(saved_bert), "onnx/model.onnx"}
    for name in ("texts.csv", "notes.txt", "training_args.bin", "code.py", ".env", "checkpoint-1/model.safetensors"):
        (saved_bert / name).parent.mkdir(exist_ok=True)
        (saved_bert / name).write_text("mine")
    (saved_bert / "onnx").mkdir()
    (saved_bert / "onnx" / "model.onnx").write_text("graph")
    status, printed, err = hub.client.call("command", "push", saved_bert, hub.name, "--json", token="writer")
    assert status == 0, err
    assert "gets no model card" in err
    pushed = json.loads(printed)
    assert set(pushed["files"]) == expected
    assert set(hub.hub.models[hub.name].revisions["main"]) == expected


def test_an_earlier_model_is_replaced_and_other_files_stay(hub, saved_bert):
    before = dict.fromkeys(
        ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "onnx/model.onnx", "plan.json"), b"old"
    )
    hub.hub.models[hub.name] = Repo({"main": {**before, "notes.md": b"mine"}}, private=True)
    status, _, err = hub.client.call(
        "command", "push", saved_bert, f"{hub.name}@next", "--message", "Smaller", token="writer"
    )
    assert status == 0, err
    repo = hub.hub.models[hub.name]
    assert set(repo.revisions["next"]) == {*files_of(saved_bert), "notes.md"}
    assert set(repo.revisions["main"]) == {*before, "notes.md"}, "another branch"
    assert repo.messages == ["Smaller"]


@pytest.mark.parametrize(
    ("repository", "token", "words"),
    [
        ("{}", None, ["there is no token", "hf auth login"]),
        ("{}", "stolen", ["does not accept your token (401"]),
        ("{}", "reader", ["your token may not write to", "expected one of owner", "it is guest's"]),
        ("{}-public", "writer", ["is public, but a private repository was asked for; pass --public"]),
        ("half", "writer", ["the repository is 'half', expected owner/name", "owner/tiny-bert"]),
        ("a/b/c", "writer", ["expected owner/name or owner/name@branch"]),
    ],
)
def test_a_push_that_is_refused(hub, saved_bert, repository, token, words):
    hub.hub.models[f"{hub.name}-public"] = Repo({"main": {"notes.md": b"mine"}})
    status, _, err = hub.client.call("command", "push", saved_bert, repository.format(hub.name), token=token)
    assert status == 2
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err
    assert hub.hub.models[f"{hub.name}-public"].revisions["main"] == {"notes.md": b"mine"}
    assert hub.name not in hub.hub.models


def test_a_public_repository_has_to_be_asked_for(hub, saved_bert):
    status, printed, err = hub.client.call("command", "push", saved_bert, hub.name, "--public", token="writer")
    assert status == 0, err
    assert "(public)" in printed
    assert not hub.hub.models[hub.name].private
    assert hub.client.call("command", "push", saved_bert, hub.name, "--public", token="writer")[0] == 0, "and again"


def test_a_folder_that_is_no_model_is_not_pushed(hub, tmp_path, tiny_bert):
    (tmp_path / "texts").mkdir()
    for folder, words in (("texts", "no config.json"), ("none", "there is no folder")):
        status, _, err = hub.client.call("command", "push", tmp_path / folder, hub.name, token="writer")
        assert status == 2
        assert words in err
    save(tiny_bert, tmp_path / "model")
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "model" / "vocab.json").symlink_to(tmp_path / "secret")
    status, _, err = hub.client.call("command", "push", tmp_path / "model", hub.name, token="writer")
    assert status == 2
    assert "vocab.json is a link to" in err
    assert hub.name not in hub.hub.models
