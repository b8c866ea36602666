"""Folders, tables and datasets of pictures: the same rows by every route, and one line for what is missing."""

import json
import shutil

import datasets
import pytest
from PIL import Image
from rows import write_rows
from tiny_vit import pixels, write_pictures
from tiny_whisper import SAID, write_clips

from infoprune.data.media import read_media
from infoprune.data.texts import read_texts
from infoprune.errors import InputError


@pytest.fixture
def photos(tmp_path):
    return write_pictures(tmp_path / "photos", each=2)


def bytes_of(data):
    return [item.load() for item in data.items]


def refusal(call):
    with pytest.raises(InputError) as refused:
        call()
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def test_sub_folders_are_classes(photos):
    (photos / "notes.txt").write_text("not a picture")
    (photos / "cat" / ".hidden.png").write_bytes(b"")
    data = read_media(photos, "pictures")
    assert data.labels == ("cat", "cat", "dog", "dog", "fish", "fish")
    assert data.classes == ("cat", "dog", "fish")
    assert data.items[2].name == str(photos / "dog" / "0.png")
    assert bytes_of(data)[2] == (photos / "dog" / "0.png").read_bytes()
    assert read_media(photos / "dog", "pictures").labels is None
    assert len(read_media(f"{photos}/*/0.png", "pictures")) == 3
    assert data.among([4, 0]).labels == ("fish", "cat")


def test_every_route_gives_the_same_rows(photos, tmp_path):
    data = read_media(photos, "pictures")
    named = [item.name.removeprefix(f"{photos}/") for item in data.items]
    rows = list(zip(named, data.labels, strict=True))
    table = write_rows(photos / "metadata.csv", rows, columns=("file_name", "label"))
    names = datasets.ClassLabel(names=list(data.classes))
    features = datasets.Features({"image": datasets.Image(), "label": names})
    saved = datasets.Dataset.from_dict({"image": [i.name for i in data.items], "label": data.labels}, features=features)
    saved.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": saved}).save_to_disk(str(tmp_path / "splits"))
    embedded = [{"bytes": item.load(), "path": None} for item in data.items]
    whole = datasets.Dataset.from_dict({"image": embedded, "label": data.labels}, features=features)
    whole.to_parquet(str(tmp_path / "rows.parquet"))
    for place in (photos, table, tmp_path / "saved", tmp_path / "splits", tmp_path / "rows.parquet"):
        found = read_media(str(place), "pictures", need_labels=True)
        assert found.labels == data.labels, place
        assert bytes_of(found) == bytes_of(data), place
    both = read_media([tmp_path / "saved", photos], "pictures")
    assert both.labels == data.labels * 2


def test_every_route_gives_the_same_clips(tmp_path):
    """As `datasets` stores sound: no package that decodes it is needed."""
    folder = write_clips(tmp_path / "clips")
    data = read_media(folder, "clips")
    assert data.transcripts == SAID
    cells = [{"bytes": item.load(), "path": None} for item in data.items]
    files = [{"bytes": None, "path": item.name} for item in data.items]
    kinds = datasets.ClassLabel(names=["long", "short"])
    stored = {"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    features = datasets.Features({**stored, "sentence": datasets.Value("string"), "label": kinds})
    for number, held in enumerate((cells, files)):
        columns = {"audio": held, "sentence": list(SAID), "label": ["short", "long"] * 3}
        rows = datasets.Dataset.from_dict(columns, features=features).cast_column("audio", datasets.Audio())
        rows.save_to_disk(str(tmp_path / f"saved-{number}"))
        datasets.DatasetDict({"test": rows}).save_to_disk(str(tmp_path / f"splits-{number}"))
        rows.to_parquet(str(tmp_path / f"rows-{number}.parquet"))
    names = [item.name.removeprefix(f"{folder}/") for item in data.items]
    listed = tmp_path / "listed"
    shutil.copytree(folder, listed)
    (listed / "metadata.csv").unlink()
    lines = [{"file_name": name, "transcription": said} for name, said in zip(names, SAID, strict=True)]
    (listed / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_rows(listed / "some.tsv", list(zip(names, SAID, strict=True)), columns=("file_name", "text"))
    for place in (*tmp_path.glob("saved-*"), *tmp_path.glob("splits-*"), *tmp_path.glob("*.parquet"), listed):
        found = read_media(str(place), "clips", need_transcripts=True)
        assert found.transcripts == SAID, place
        assert bytes_of(found) == bytes_of(data), place
        assert read_media(str(place), "clips", transcripts=False).transcripts is None
    labelled = read_media(str(tmp_path / "saved-0"), "clips", need_labels=True)
    assert labelled.labels == ("short", "long") * 3
    assert labelled.classes == ("long", "short")


def test_clips_without_a_content_or_a_transcript_are_named(tmp_path):
    stored = {"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    features = datasets.Features({**stored, "text": datasets.Value("string")})
    columns = {"audio": [{"bytes": b"RIFF", "path": None}, None], "text": ["a", None]}
    rows = datasets.Dataset.from_dict(columns, features=features).cast_column("audio", datasets.Audio())
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    place = tmp_path / "rows.parquet"
    assert "row 2 is null in column 'text'" in refusal(lambda: read_media(place, "clips"))
    found = read_media(place, "clips", transcripts=False)
    assert f"row 2 of {place} is empty, expected a picture or a clip" in refusal(lambda: found.items[1].load())


def test_splits_are_chosen_as_those_of_datasets(tmp_path):
    for split in ("train", "val"):
        write_pictures(tmp_path / "photos" / split, each=1 if split == "val" else 2)
    assert len(read_media(tmp_path / "photos", "pictures")) == 6
    assert len(read_media(tmp_path / "photos", "pictures", split="validation")) == 3
    (tmp_path / "photos" / "train").rename(tmp_path / "photos" / "test")
    assert "no split 'train', there are test, val" in refusal(lambda: read_media(tmp_path / "photos", "pictures"))


def test_what_holds_no_pictures_is_refused_with_a_remedy(tmp_path, photos):
    (tmp_path / "empty").mkdir()
    texts = write_rows(tmp_path / "texts.csv", [("a film", 1)])
    lost = write_rows(tmp_path / "lost.csv", [("gone.png", "cat")], columns=("file_name", "label"))
    for place, says in {
        tmp_path / "empty": ("no pictures in it (.jpg, .jpeg, .png", "check the path"),
        tmp_path / "nowhere": ("no such file or folder", "check the path"),
        texts: ("no pictures in it (columns 'text', 'label')", "a table with the column file_name"),
        lost: ("row 1 names 'gone.png'", "relative to the table"),
    }.items():
        message = refusal(lambda place=place: read_media(place, "pictures"))
        assert all(word in message for word in (str(place), *says)), message
    assert "no labels, expected a sub-folder for each class" in refusal(
        lambda: read_media(photos / "cat", "pictures", need_labels=True)
    )
    message = refusal(lambda: read_texts(str(photos)))
    assert "holds pictures, but the model reads texts" in message


def test_pictures_beside_sub_folders_have_no_class(photos):
    Image.fromarray(pixels()).save(photos / "one.png")
    assert read_media(photos, "pictures").labels is None
    assert "photos/one.png has no class" in refusal(lambda: read_media(photos, "pictures", need_labels=True))
