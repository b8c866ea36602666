"""Names and paths, and a cache laid out as the hub does, without a network."""

from pathlib import Path

import pytest
from hub_cache import put_in_cache

from infoprune.errors import InputError
from infoprune.sources.models import model_folder, name_on_hub
from infoprune.sources.names import dataset_name, is_path, model_name


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("owner/name", "owner/name", None),
        ("owner/name@v1", "owner/name", "v1"),
        ("owner/name@refs/pr/1", "owner/name", "refs/pr/1"),
        ("hf://owner/name", "owner/name", None),
        ("distilbert-base-uncased-finetuned-sst-2-english", "distilbert-base-uncased-finetuned-sst-2-english", None),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", None),
    ],
)
def test_names_of_models(text, name, revision):
    found = model_name(text)
    assert (found.name, found.revision, found.given) == (name, revision, text)
    assert not is_path(text)


@pytest.mark.parametrize("text", ["a/b/c", "a//b", "", "a b", "owner/name@", "owner/name@a@b", "a/b:c", "https://x/y"])
def test_what_is_no_name_of_a_model(text):
    assert model_name(text) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("owner/data", ("owner/data", None, None, None)),
        ("imdb", ("imdb", None, None, None)),
        ("owner/data:test", ("owner/data", None, "test", None)),
        ("owner/data:sst2:test", ("owner/data", None, "sst2", "test")),
        ("owner/data::test", ("owner/data", None, None, "test")),
        ("owner/data@v1:sst2", ("owner/data", "v1", "sst2", None)),
        ("hf://datasets/owner/data:test", ("owner/data", None, "test", None)),
    ],
)
def test_names_of_datasets(text, parts):
    found = dataset_name(text)
    assert (found.repository.name, found.repository.revision, found.first, found.second) == parts


@pytest.mark.parametrize("text", ["a/b/c", "a b", "a/b:c:d:e", "a/b:c/d", "C:\\texts.csv"])
def test_what_is_no_name_of_a_dataset(text):
    assert dataset_name(text) is None


@pytest.mark.parametrize("text", ["./name", "../name", "~/name", "/name", "owner/name/", "owner\\name"])
def test_the_form_of_a_path(text):
    assert is_path(text)
    assert model_folder(text) == Path(text), "what opens it says that there is no folder"


def test_a_local_folder_is_opened_as_it_is(offline_hub):
    (Path.cwd() / "owner" / "name").mkdir(parents=True)
    put_in_cache(offline_hub, "owner/name", {"config.json": b"{}"})
    assert model_folder("owner/name") == Path("owner/name")
    assert model_folder(Path("none/at-all")) == Path("none/at-all"), "a Path is a path"


def test_a_name_that_begins_like_a_local_folder_is_a_path(offline_hub):
    (Path.cwd() / "owner").mkdir()
    snapshot = put_in_cache(offline_hub, "owner/name", {"config.json": b"{}", "model.safetensors": b"x"})
    with pytest.raises(InputError, match=r"there is no folder owner/name, .*check the path, or write hf://owner/name"):
        model_folder("owner/name")
    assert model_folder("hf://owner/name") == snapshot


def test_a_name_is_opened_from_the_cache(offline_hub):
    files = {"config.json": b"{}", "model.safetensors": b"x", "1_Pooling/config.json": b"{}"}
    snapshot = put_in_cache(offline_hub, "owner/name", files)
    other = put_in_cache(offline_hub, "owner/name", {**files, "config.json": b"[]"}, revision="v1")
    assert model_folder("owner/name") == snapshot
    assert model_folder("owner/name@v1") == other
    assert model_folder(f"owner/name@{other.name}") == other
    assert (model_folder("owner/name") / "config.json").read_bytes() == b"{}"
    assert name_on_hub(other) == "owner/name"
    assert name_on_hub(other / "1_Pooling") == "owner/name"


def test_weights_are_not_looked_for_where_they_are_not_needed(offline_hub):
    snapshot = put_in_cache(offline_hub, "owner/name", {"config.json": b"{}"})
    assert model_folder("owner/name", weights=False) == snapshot
    with pytest.raises(InputError, match="does not have the whole model owner/name"):
        model_folder("owner/name")


@pytest.mark.parametrize("name", ["owner/name", "bare-name", "owner/name@v1"])
def test_a_model_that_is_not_in_the_cache(offline_hub, name):
    with pytest.raises(InputError) as caught:
        model_folder(name)
    assert str(caught.value).startswith(f"there is no folder {name}, and the cache does not have the whole model")
    assert "HF_HUB_OFFLINE forbids to fetch it; unset HF_HUB_OFFLINE" in str(caught.value)


def test_a_folder_with_nearly_that_name_is_named(offline_hub):
    for name in ("my-classifier", ".my-clasifier", "something-else"):
        (Path.cwd() / name).mkdir()
    (Path.cwd() / "my-clasifiers").write_text("a file")
    with pytest.raises(InputError, match=r"there is no folder my-clasifier \(but my-classifier\), and"):
        model_folder("my-clasifier")


@pytest.mark.parametrize("text", ["a/b/c", "not a name", "a//b"])
def test_neither_a_folder_nor_a_name(offline_hub, text):
    with pytest.raises(InputError, match=r"there is no folder .*, and it is no name on the hub, expected owner/name"):
        model_folder(text)


def test_a_name_that_the_hub_does_not_allow(offline_hub):
    with pytest.raises(InputError, match="no valid name on the hub"):
        model_folder("owner/a--b")


def test_other_folders_have_no_name_on_the_hub(tmp_path):
    for name in ("model", "snapshots/abc", "other--a--b/snapshots/abc"):
        assert name_on_hub(tmp_path / name) is None
