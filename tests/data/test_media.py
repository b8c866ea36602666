"""Folders, tables and datasets of pictures: the same rows by every route, and one line for what is missing."""

import datasets
import pytest
from PIL import Image
from rows import write_rows
from tiny_vit import pixels, write_pictures

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
