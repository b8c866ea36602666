"""What an argument of texts can name: a file, a pattern, several files, a folder of save_to_disk."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from huggingface_hub import constants
from transformers import BertConfig

from infoprune.data.batches import label_ids
from infoprune.data.places import places
from infoprune.data.texts import TextData, read_texts
from infoprune.errors import InputError

NAMED = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (2, 1, 3):
        (tmp_path / f"part-{number}.csv").write_text(f"text,label\ntext {number},{number % 2}\n")
    return tmp_path


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Two splits, and one of them alone."""
    monkeypatch.chdir(tmp_path)
    train = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]}, features=NAMED)
    test = Dataset.from_dict({"text": ["d"], "label": [0]}, features=NAMED)
    DatasetDict(train=train, test=test).save_to_disk("splits")
    train.save_to_disk("alone")
    return tmp_path


def test_a_pattern_names_its_files_in_order(parts):
    found = read_texts("part-*.csv")
    assert found == TextData(("text 1", "text 2", "text 3"), None, ("1", "0", "1"), "part-1.csv and 2 more")
    assert read_texts("**/part-[12].csv").texts == ("text 1", "text 2")


def test_several_places_are_joined_and_none_is_read_twice(parts):
    assert places(["part-3.csv", "part-*.csv"]) == ["part-3.csv", "part-1.csv", "part-2.csv"]
    assert read_texts(["part-3.csv", parts / "part-1.csv"]).texts == ("text 3", "text 1")
    assert read_texts(["part-1.csv"]) == read_texts("part-1.csv")


def test_labels_are_those_of_all_places_or_none(parts):
    (parts / "more.txt").write_text("no label\n")
    found = read_texts(["part-1.csv", "more.txt"])
    assert (found.texts, found.labels) == (("text 1", "no label"), None)
    with pytest.raises(InputError, match=r"more\.txt: no column 'label'"):
        read_texts(["part-1.csv", "more.txt"], need_labels=True)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(parts):
    (parts / "part-[1].csv").write_text("text\nthe file itself\n")
    assert read_texts("part-[1].csv").texts == ("the file itself",)


def test_nothing_matches(parts):
    with pytest.raises(InputError, match=r"none-\*\.csv: no file matches this pattern, .*check the path"):
        read_texts("none-*.csv")
    with pytest.raises(InputError, match="no file of texts was given"):
        read_texts([])


def test_a_folder_of_save_to_disk(saved):
    alone = read_texts("alone")
    assert alone == TextData(("a", "b", "c"), None, ("neg", "pos", "pos"), "alone", ("neg", "pos"))
    assert alone.among([2]) == TextData(("c",), None, ("pos",), "alone", ("neg", "pos"))
    assert read_texts("splits").texts == ("a", "b", "c")
    assert read_texts("splits", split="validation").texts == ("d",), "test, where there is no validation"
    for place in ("splits:test", "splits/test", saved / "splits" / "test"):
        assert read_texts(place).texts == ("d",)
    assert read_texts(["alone", "splits:test"]).classes == ("neg", "pos")


def test_rows_that_were_chosen_before_saving(saved):
    Dataset.from_dict({"text": ["a", "b", "c"], "n": [1, 2, 3]}).select([2, 0]).save_to_disk("some")
    assert read_texts("some").texts == ("c", "a")


def test_columns_that_are_no_texts_are_not_looked_at(saved):
    rows = {"picture": [b"x", b"y"], "record": [{"a": 1}] * 2, "review": ["a b", "c d"], "length": [3, 3]}
    Dataset.from_dict(rows).save_to_disk("mixed")
    assert read_texts("mixed").texts == ("a b", "c d")
    with pytest.raises(InputError, match=r"no column 'body', there are 'review', 'length'; pass"):
        read_texts("mixed", text="body")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("splits:dev", r"splits has no split 'dev', there are train, test; name one, e\.g\. splits:train"),
        ("alone:test", r"alone has a single split, but 'test' was named; leave it out"),
        ("damaged", r"damaged cannot be read as a dataset .*save it again"),
        (".", r"is a folder, expected one file of \.csv, .*or a folder from save_to_disk; .*e\.g\. '\./\*\.csv'"),
        ("none/at-all.csv", r"none/at-all\.csv: no such file"),
        ("alone/texts", r"alone/texts: no such file; .*or write hf://alone/texts if it is a dataset on the hub"),
    ],
)
def test_a_place_that_cannot_be_read(saved, place, message):
    Dataset.from_dict({"text": ["a"]}).save_to_disk("damaged")
    (saved / "damaged" / "state.json").write_text("{}")
    with pytest.raises(InputError, match=message) as caught:
        read_texts(place)
    assert "\n" not in str(caught.value)


def test_a_dataset_that_is_not_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for place in ("nobody/nothing", "nobody/nothing:sst2:test", "hf://nobody/nothing", "nothing"):
        with pytest.raises(InputError, match=r"there is no file .*, and the cache does not have the whole dataset"):
            read_texts(place)
    with pytest.raises(InputError, match="no such file"):
        read_texts(tmp_path / "nobody" / "nothing")
    (tmp_path / "nobody" / "nothing").mkdir(parents=True)
    with pytest.raises(InputError, match="nobody/nothing is a dataset on the hub and a local folder too"):
        read_texts("hf://nobody/nothing")


# Labels by name


def config(**names):
    if not names:
        return BertConfig(num_labels=2)
    return BertConfig(id2label={number: name for name, number in names.items()}, label2id=names)


def test_names_differ_in_case_at_most():
    assert label_ids(["negative", "Positive"], config(NEGATIVE=0, POSITIVE=1)) == [0, 1]
    assert label_ids(["a", "A"], config(a=0, A=1)) == [0, 1]
    with pytest.raises(InputError, match="'B' are unknown"):
        label_ids(["B"], config(a=0, A=1, b=2, c=3))


def test_classes_stand_for_their_numbers_where_the_model_has_no_names():
    assert label_ids(["pos", "neg", "1"], config(), classes=("neg", "pos")) == [1, 0, 1]
    with pytest.raises(InputError, match="'pos' are unknown"):
        label_ids(["pos"], config(), classes=("neg", "neutral", "pos"))
    with pytest.raises(InputError, match="'pos' are unknown"):
        label_ids(["pos"], config(no=0, yes=1), classes=("neg", "pos"))
