"""Datasets are read from a local hub, by name, configuration and split; and what goes wrong is one line."""

import hashlib
import io
from importlib.util import find_spec

import PIL.Image
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value
from hub_contents import Repo
from tiny_whisper import RATE, noise

CONFIGS = """---
configs:
- config_name: sst2
  data_files:
  - split: train
    path: sst2/train.parquet
  - split: validation
    path: sst2/validation.parquet
  - split: test
    path: sst2/test.parquet
- config_name: cola
  data_files:
  - split: train
    path: cola/train.parquet
---
"""
FEATURES = Features(
    {"sentence": Value("string"), "label": ClassLabel(names=["negative", "positive"]), "picture": Image()}
)


def parquet(dataset):
    """The bytes of a parquet file."""
    file = io.BytesIO()
    dataset.to_parquet(file)
    return file.getvalue()


def sentences(name, count, labels=(0, 1)):
    rows = range(count)
    columns = {
        "sentence": [f"{name} {row}" for row in rows],
        "label": [labels[row % len(labels)] for row in rows],
        "picture": [None for _ in rows],
    }
    return parquet(Dataset.from_dict(columns, features=FEATURES))


@pytest.fixture
def glue(hub):
    """A dataset of two configurations, one of them with three splits."""
    hub.hub.datasets[hub.name] = Repo(
        {
            "main": {
                "README.md": CONFIGS.encode(),
                "sst2/train.parquet": sentences("train", 6),
                "sst2/validation.parquet": sentences("validation", 4),
                "sst2/test.parquet": sentences("test", 2, labels=(-1,)),
                "cola/train.parquet": sentences("cola", 3),
            }
        }
    )
    return hub.name


@pytest.fixture
def lines(hub):
    """A dataset of plain files: a split for each."""
    hub.hub.datasets[hub.name] = Repo(
        {"main": {"train.csv": b"text,label\na,1\nb,0\n", "test.csv": b"text,label\nc,1\n"}}
    )
    return hub.name


def test_a_configuration_and_a_split_by_name(hub, glue):
    found = hub.client.call("texts", f"{glue}:sst2:validation")
    assert found["texts"] == [f"validation {row}" for row in range(4)]
    assert found["labels"] == ["negative", "positive"] * 2, "classes are read as their names"
    assert found["classes"] == ["negative", "positive"]
    assert found["source"] == f"{glue}:sst2:validation"
    assert hub.client.call("texts", f"{glue}:cola")["texts"] == ["cola 0", "cola 1", "cola 2"]


def test_a_split_that_is_not_named_is_that_of_the_purpose(hub, glue):
    assert hub.client.call("texts", f"{glue}:sst2")["source"] == f"{glue}:sst2:train"
    assert hub.client.call("texts", f"{glue}:sst2", split="validation")["source"] == f"{glue}:sst2:validation"
    assert hub.client.call("texts", f"{glue}:cola", split="validation")["source"] == f"{glue}:cola:train"


def test_the_only_part_behind_a_name_may_be_a_split(hub, lines):
    found = hub.client.call("texts", f"{lines}:test")
    assert (found["texts"], found["labels"], found["classes"]) == (["c"], ["1"], None)
    assert hub.client.call("texts", lines)["texts"] == ["a", "b"]
    assert hub.client.call("texts", lines, split="validation")["texts"] == ["c"], "test where validation is missing"


def test_labels_that_are_not_published_are_missing(hub, glue):
    found = hub.client.call("texts", f"{glue}:sst2:test")
    assert (found["texts"], found["labels"]) == (["test 0", "test 1"], None)
    kind, message = hub.client.call("texts", f"{glue}:sst2:test", need_labels=True)
    assert kind == "InputError"
    assert f"{glue}:sst2:test: row 1 has no label" in message


def test_tags_are_a_list_of_classes(hub):
    features = Features({"words": List(Value("string")), "tags": List(ClassLabel(names=["O", "B-PER"]))})
    rows = Dataset.from_dict({"words": [["I", "am", "Ann"]], "tags": [[0, 0, 1]]}, features=features)
    hub.hub.datasets[hub.name] = Repo({"main": {"train.parquet": parquet(rows)}})
    found = hub.client.call("texts", hub.name, text="words", label="tags")
    assert (found["texts"], found["labels"]) == (["I am Ann"], ["O O B-PER"])


def test_of_a_large_dataset_some_rows_are_read(hub):
    rows = {name: "".join(f'{{"text": "{name} {row}"}}\n' for row in range(6)).encode() for name in ("train", "test")}
    hub.hub.datasets[hub.name] = Repo({"main": {f"{name}.jsonl": content for name, content in rows.items()}})
    found = hub.client.call("some_texts", hub.name, 10, 4)
    assert len(found["texts"]) == len(set(found["texts"])) == 4
    assert set(found["texts"]) <= {f"train {row}" for row in range(6)}
    (warning,) = found["warnings"]
    assert f"{hub.name}:train has more rows, of which 4 are read" in warning
    assert hub.hub.fetched(hub.name) == {"train.jsonl"}, "other splits are not fetched"
    assert hub.client.call("some_texts", hub.name, 10, 4)["texts"] == found["texts"], "the same rows each time"
    whole = hub.client.call("some_texts", hub.name, 10, 100)
    assert (len(whole["texts"]), whole["warnings"]) == (6, [])


def test_pictures_and_clips_of_a_large_dataset_are_the_bytes_of_their_files(hub):
    """Embedded in a parquet file, or files of a folder; no package that decodes sound is needed."""
    contents = {digest(content): content for content in (picture("red"), picture("blue"), wave(1), wave(2))}
    red, blue, first, second = contents
    rows = {"audio": [{"bytes": contents[each], "path": None} for each in (first, second)], "text": ["one", "two"]}
    stored = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "text": Value("string")})
    clips = Dataset.from_dict(rows, features=stored).cast_column("audio", Audio())
    hub.hub.datasets[hub.name] = Repo({"main": {"train.parquet": parquet(clips)}})
    found = hub.client.call("some_media", hub.name, "clips")
    assert dict(zip(found["digests"], found["transcripts"], strict=True)) == {first: "one", second: "two"}
    photos = {"train/a/1.png": contents[red], "train/b/1.png": contents[blue]}
    hub.hub.datasets[f"{hub.name}-photos"] = Repo({"main": photos})
    found = hub.client.call("some_media", f"{hub.name}-photos", "pictures")
    assert dict(zip(found["digests"], found["labels"], strict=True)) == {red: "a", blue: "b"}


@pytest.mark.skipif(find_spec("torchcodec") is not None, reason="it is what is missing")
def test_the_package_that_a_folder_of_clips_wants_is_named(hub):
    hub.hub.datasets[hub.name] = Repo({"main": {"train/a/1.wav": wave(1), "train/b/1.wav": wave(2)}})
    kind, message = hub.client.call("some_media", hub.name, "clips", most_bytes=10**9)
    assert kind == "InputError"
    assert "please install 'torchcodec'" in message
    assert "install the package, or read it by hand" in message


def digest(content):
    return hashlib.sha256(content).hexdigest()


def picture(colour):
    file = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), colour).save(file, "PNG")
    return file.getvalue()


def wave(seed):
    file = io.BytesIO()
    soundfile.write(file, noise(seed, 0.1), RATE, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (":nope:train", ["has no configuration 'nope', there are sst2, cola; name one, e.g. "]),
        (":sst2:dev", [":sst2 has no split 'dev', there are train, validation, test; name one, e.g. ", ":sst2:train"]),
        ("@v7:sst2", ["has no revision v7", "there are main"]),
    ],
)
def test_no_such_part_names_those_there_are(hub, glue, behind, words):
    kind, message = hub.client.call("texts", glue + behind)
    assert kind == "InputError"
    assert message.startswith(glue)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        (None, {}, ["there is no file", "no dataset of that name on the hub"]),
        ({"README.md": b"x", "a.csv": b"text\na\n"}, {"gated": True}, ["is gated", "/datasets/", "hf auth login"]),
        ({"a.csv": b"text\na\n"}, {"private": True}, ["no dataset of that name", "log in if it is private"]),
        ({"README.md": b"x"}, {}, ["has no files of rows"]),
        ({"a.jsonl": b"{"}, {}, ["cannot be read", "csv or parquet"]),
    ],
    ids=["missing", "gated", "private", "empty", "damaged"],
)
def test_a_dataset_that_cannot_be_read(hub, content, settings, words):
    if content is not None:
        hub.hub.datasets[hub.name] = Repo({"main": content}, **settings)
    kind, message = hub.client.call("texts", hub.name)
    assert kind == "InputError"
    assert hub.name in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_script_is_not_run(hub):
    name = hub.name
    hub.hub.datasets[name] = Repo({"main": {f"{name.split('/')[1]}.py": b"raise SystemExit(3)"}})
    kind, message = hub.client.call("texts", name)
    assert kind == "InputError"
    assert "without code" in message
