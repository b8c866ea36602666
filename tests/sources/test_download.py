"""Models are fetched from a local hub: only what is needed, once, of one commit; and what goes wrong is one line."""

import json
from pathlib import Path

import huggingface_hub
import pytest

EARLY = int(huggingface_hub.__version__.partition(".")[0]) < 1
"""Whether huggingface_hub is one of the releases before 1.0."""

JUNK = {
    "modeling_bert.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "training_args.bin": b"pickle",
    "model.fp16.safetensors": b"other",
    "consolidated.safetensors": b"other",
    "onnx/model.onnx": b"graph",
    "original/tokenizer.model": b"x",
    "openvino/openvino_model.bin": b"x",
    "model.gguf": b"x",
    "1_Pooling/evil.py": b"x",
    ".gitattributes": b"x",
}


def there(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_only_the_files_that_are_needed_are_fetched_and_once(hub, add, files):
    name = add({**files, **JUNK})
    folder = hub.client.call("folder", name)
    assert there(folder) == set(files)
    assert hub.hub.fetched(name) == set(files)
    assert (Path(folder) / "model.safetensors").read_bytes() == files["model.safetensors"]
    hub.hub.asked.clear()
    assert hub.client.call("folder", name) == folder
    assert hub.hub.fetched(name) == set(), "it is in the cache"


def test_without_weights_only_small_files_are_fetched(hub, add, files):
    name = add(files)
    hub.client.call("folder", name, weights=False)
    assert hub.hub.fetched(name) == set(files) - {"model.safetensors"}


def test_the_shards_are_those_of_the_index(hub, add, files):
    shards = {f"model-0000{number}-of-00002.safetensors": b"part" * number for number in (1, 2)}
    index = {"weight_map": {f"weight {name}": name for name in shards}}
    del files["model.safetensors"]
    files |= {**shards, "model.safetensors.index.json": json.dumps(index).encode()}
    name = add({**files, "other.safetensors": b"x"})
    assert there(hub.client.call("folder", name)) == set(files)


def test_an_index_names_files_of_its_own_folder_alone(hub, add, files):
    del files["model.safetensors"]
    index = {"weight_map": {"a": "../../other/model.safetensors"}}
    name = add({**files, "model.safetensors.index.json": json.dumps(index).encode()})
    kind, message = hub.client.call("folder", name)
    assert kind == "InputError"
    assert "does not list files of weights" in message


def module(path, name):
    return {"idx": 0, "name": "0", "path": path, "type": f"sentence_transformers.models.{name}"}


@pytest.mark.parametrize("inside", ["", "0_Transformer/"])
def test_modules_of_sentence_transformers_come_with_their_weights(hub, add, files, inside):
    modules = [module(inside.strip("/"), "Transformer"), module("1_Pooling", "Pooling"), module("2_Dense", "Dense")]
    needed = {
        "README.md": files.pop("README.md"),
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": b"{}",
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": b"dense",
        **{inside + path: content for path, content in files.items()},
    }
    name = add({**needed, **JUNK, "2_Dense/pytorch_model.bin": b"pickle"})
    assert there(hub.client.call("folder", name)) == set(needed)
    del hub.hub.models[name].revisions["main"]["2_Dense/model.safetensors"]
    kind, message = hub.client.call("folder", name)
    assert kind == "InputError"
    assert f"{name} has no 2_Dense/model.safetensors" in message


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, add, files):
    other = {**files, "config.json": b'{"model_type": "other"}'}
    name = add(files, also={"v1": other, "refs/pr/1": {**other, "vocab.txt": b"x"}})
    folders = {revision: hub.client.call("folder", f"{name}@{revision}") for revision in ("main", "v1", "refs/pr/1")}
    assert len(set(folders.values())) == 3
    assert (Path(folders["v1"]) / "config.json").read_bytes() == other["config.json"]
    assert "vocab.txt" in there(folders["refs/pr/1"])
    commit = hub.hub.models[name].sha("v1")
    assert hub.client.call("folder", f"{name}@{commit}") == folders["v1"]
    assert hub.client.call("folder", f"hf://{name}@v1") == folders["v1"]


def test_a_download_that_breaks_off_goes_on_where_it_was(hub, add, files):
    weights = bytes(range(256)) * 100_000  # the client stores parts of 10 MiB
    name = add({**files, "model.safetensors": weights})
    hub.hub.broken.add("model.safetensors")
    folder = hub.client.call("folder", name)
    if EARLY:  # the run ends there, and the next one goes on
        assert "try again" in folder[1]
        folder = hub.client.call("folder", name)
    assert (Path(folder) / "model.safetensors").read_bytes() == weights
    assert f"bytes={10 << 20}-" in {asked for _, _, asked in hub.hub.asked}


@pytest.mark.skipif(EARLY, reason="they do not tell the bytes")
def test_progress_is_in_megabytes(hub, add, files):
    steps = hub.client.call("progress", add({**files, "model.safetensors": bytes(3_000_000)}))
    assert steps
    assert {stage for stage, _, _ in steps} == {"fetch MB"}
    assert steps[-1][1:] == [3, 3]


def test_a_bare_name_is_one_of_the_early_models(hub, files):
    from hub_contents import Repo

    hub.hub.models["bert-base-uncased"] = Repo({"main": files})
    assert there(hub.client.call("folder", "bert-base-uncased")) == set(files)


# What goes wrong


@pytest.mark.parametrize("token", [None, "reader"])
def test_no_such_model(hub, token):
    kind, message = hub.client.call("folder", hub.name, token=token)
    assert kind == "InputError"
    assert message.startswith(f"there is no folder {hub.name}, and no model of that name on the hub; check the name")
    assert ("log in if it is private" in message) == (token is None)
    assert "HF_TOKEN" in message
    assert "\n" not in message


def test_a_private_model_is_opened_with_a_token_that_may_read_it(hub, add, files):
    name = add(files, private=True, readers=("reader",))
    assert "no model of that name" in hub.client.call("folder", name)[1]
    assert there(hub.client.call("folder", name, token="reader")) == set(files)


def test_a_gated_model_says_where_to_ask(hub, add, files):
    name = add(files, gated=True, readers=("reader",))
    for token, remedy in ((None, "then log in (hf auth login"), ("writer", "with the account of your token")):
        kind, message = hub.client.call("folder", name, token=token)
        assert kind == "InputError"
        assert f"{name} is gated" in message
        assert f"ask for it at {hub.url}/{name}" in message
        assert remedy in message
    assert there(hub.client.call("folder", name, token="reader")) == set(files)


def test_a_token_that_is_not_valid(hub, add, files):
    kind, message = hub.client.call("folder", add(files), token="stolen")
    assert kind == "InputError"
    assert "does not accept your token (401" in message
    assert "log in again" in message


def test_no_such_revision_names_those_there_are(hub, add, files):
    name = add(files, also={"v1": files})
    kind, message = hub.client.call("folder", f"{name}@v2")
    assert kind == "InputError"
    assert f"{name} has no revision v2" in message
    assert "there are main, v1" in message


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("model.safetensors", ["has no model.safetensors but pytorch_model.bin", "save_pretrained", "refs/pr/1"]),
        ("config.json", ["has no config.json but", "a model saved by save_pretrained; check the name"]),
    ],
)
def test_a_repository_that_lacks_a_part_of_the_model(hub, add, files, missing, words):
    del files[missing]
    name = add({**files, "pytorch_model.bin": b"pickle"})
    kind, message = hub.client.call("folder", name)
    assert kind == "InputError"
    for word in (f"{hub.url}/{name}", *words):
        assert word in message
    assert "pytorch_model.bin" not in hub.hub.fetched(name)


def test_a_hub_that_is_down_is_no_matter_where_the_cache_has_the_model(hub, add, files):
    name = add(files)
    folder = hub.client.call("folder", name)
    hub.hub.down = True
    assert hub.client.call("folder", name) == folder
    kind, message = hub.client.call("folder", f"{name}-other")
    assert kind == "InputError"
    assert "the hub answers 503; try again later" in message


def test_a_cache_that_cannot_be_written_to(hub, add, files):
    name = add(files)
    place = hub.home / "hub" / f"models--{name.replace('/', '--')}"
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file where a folder should be")
    kind, message = hub.client.call("folder", name)
    assert kind == "InputError"
    assert f"{name} cannot be stored in {hub.home / 'hub'}" in message
    assert "HF_HOME" in message
