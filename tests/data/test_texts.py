"""Files of texts: what is read of them, and what is said of bad ones."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infoprune.data.tables import read_table
from infoprune.data.texts import TextData, read_texts
from infoprune.errors import InputError

TEXTS = ["good film", "null", "NA", 'a, "quoted"\nplot \u2028 é', ""]
LABELS = ["1", "0", "1", "0", "1"]

# Surrogates have no UTF-8 form, and NUL is no text to the csv module of Python 3.11.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def write(path, texts, labels):
    columns = {"text": texts, "label": labels}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(texts, labels, strict=True)]
    if path.suffix in {".csv", ".tsv"}:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writerow(columns)
            writer.writerows(zip(texts, labels, strict=True))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_back_the_rows(tmp_path, suffix):
    path = write(tmp_path / f"data{suffix}", TEXTS, LABELS)
    data = read_texts(path)
    assert data == TextData(tuple(TEXTS), None, tuple(LABELS), str(path))
    assert list(tmp_path.iterdir()) == [path], "reading leaves nothing in the user's folder"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5), suffix=st.sampled_from([".csv", ".jsonl", ".parquet"]))
def test_any_text_survives(tmp_path, texts, suffix):
    path = write(tmp_path / f"any{suffix}", texts, ["x"] * len(texts))
    assert read_texts(path).texts == tuple(texts)


def test_text_files_have_a_text_a_line_without_blank_lines(tmp_path):
    path = tmp_path / "data.txt"
    path.write_bytes(b"\xef\xbb\xbfgood film\r\n\n  \nbad film")
    assert read_texts(path) == TextData(("good film", "bad film"), None, None, str(path))


def test_a_long_field_is_read_and_the_csv_limit_restored(tmp_path):
    limit = csv.field_size_limit()
    path = write(tmp_path / "long.csv", ["x" * 200_000], ["1"])
    assert len(read_texts(path).texts[0]) == 200_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    "content",
    ['{"text": ["a", "b"], "label": [0, 1]}', '{"text": "a", "label": 0}\n{"text": "b", "label": 1}'],
    ids=["columns", "lines"],
)
def test_json_files_may_hold_columns_or_lines(tmp_path, content):
    path = tmp_path / "data.json"
    path.write_text(content)
    assert (read_texts(path).texts, read_texts(path).labels) == (("a", "b"), ("0", "1"))


def test_labels_are_strings_and_integral_numbers_lose_their_point(tmp_path):
    path = tmp_path / "data.jsonl"
    values = [1, 1.0, 2.5, "pos", "3.0", -1.0]
    path.write_text("\n".join(json.dumps({"text": "t", "label": value}) for value in values))
    assert read_texts(path).labels == ("1", "1", "2.5", "pos", "3", "-1")


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("sentence,other", "a b,c d", "a b"),
        ("id,review,label", "7,a b,pos", "a b"),
        ("other,text,sentence", "c d,a b,e f", "a b"),
    ],
    ids=["sentence", "the only strings", "text before sentence"],
)
def test_the_text_column_is_found(tmp_path, header, row, expected):
    path = tmp_path / "data.csv"
    path.write_text(f"{header}\n{row}\n")
    assert read_texts(path).texts == (expected,)


def test_columns_are_taken_by_name(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("premise,hypothesis,gold,label\na,b,yes,9\n")
    data = read_texts(path, text="premise", text_pair="hypothesis", label="gold")
    assert (data.texts, data.pairs, data.labels) == (("a",), ("b",), ("yes",))


def test_incomplete_labels_are_left_out_unless_needed(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,1\nb,\n")
    assert read_texts(path).labels is None
    for wanted in ({"need_labels": True}, {"label": "label"}):
        with pytest.raises(InputError, match=r"row 2 has no label in column 'label'; fill or remove"):
            read_texts(path, **wanted)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", r"no rows, expected at least one"),
        ("a.csv", b"text,label\n", r"no rows, expected at least one"),
        ("a.txt", b"\n \n", r"no rows"),
        ("a.json", b"", r"no rows"),
        ("a.jsonl", b"\n", r"no rows"),
        ("a.xlsx", b"x", r"unknown file type \(\.xlsx\), expected \.csv, \.tsv, .*convert"),
        ("a", b"x", r"unknown file type \(no suffix\)"),
        ("a.csv", b"text\nna\xefve\n", r"not UTF-8 \(byte 0xef at position 7\), expected UTF-8 text; .*iconv"),
        ("a.csv", b"\xef\xbb\xbftext\nna\xefve\n", r"not UTF-8 \(byte 0xef at position 10\)"),
        ("a.csv", b"text,label\na,1\nb\n", r"ending at line 3 has 1 fields, expected 2"),
        ("a.csv", b"text,label\na,1,2\n", r"ending at line 2 has 3 fields, expected 2 .*quote fields"),
        ("a.csv", b'text\n"open\n', r"malformed at line 2 \(unexpected end of data\)"),
        ("a.csv", b'text\n"a"b\n', r"malformed at line 2 .*expected quoted fields to be closed and quotes"),
        ("a.csv", b"text,text\na,b\n", r"repeated column names .*rename"),
        ("a.csv", b"x,y\na,b\n", r"2 other columns of texts among 'x', 'y', expected one; .*`text`$"),
        ("a.csv", b"x,y\n1,2\n", r"0 other columns of texts"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', r"line 2 is not JSON .*expected an object per line"),
        ("a.jsonl", b'"a"\n', r"row 1 is a JSON str, expected an object"),
        ("a.json", b"3", r"contains a JSON int, expected a list of objects; write each row as an object"),
        ("a.jsonl", b'{"text": "a"}\n{"text": null}\n', r"row 2 is null in column 'text', expected a text; fill"),
        ("a.jsonl", b'{"text": 7}\n', r"row 1 holds 7 \(int\) in column 'text', expected a text"),
        ("a.parquet", b"no parquet", r"not readable as parquet"),
    ],
)
def test_a_bad_file_is_explained_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_texts(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "column", "message"),
    [
        (["text", "text"], pyarrow.array(["b"]), r"repeated column names in the header \['text', 'text'\], .*rename"),
        (
            ["text", "x"],
            pyarrow.array([2**62], pyarrow.timestamp("us")),
            r"cannot be converted to Python \(date value .*without",
        ),
        (
            ["text", "x"],
            pyarrow.StructArray.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"]),
            r"cannot be converted to Python \(.* duplicate field names .*\), expected texts, .*without that column",
        ),
    ],
    ids=["a name twice", "a date that Python lacks", "a name twice within values"],
)
def test_a_parquet_file_that_python_cannot_hold_is_explained(tmp_path, names, column, message):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table([pyarrow.array(["a"]), column], names=names), path)
    with pytest.raises(InputError, match=message) as caught:
        read_texts(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_values_are_not_guessed_at(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    labels = ["01", 1, 1.0, True, 2**80]
    rows = [{"text": f"2020-01-0{day}", "label": label} for day, label in enumerate(labels, start=1)]
    for some in (rows[:1], rows):
        path.write_text("\n".join(map(json.dumps, some)))
        # 1, 1.0 and True are equal to Python, but unlike labels.
        assert repr(read_table(path)) == repr({name: [row[name] for row in some] for name in ("text", "label")})


def test_csv_values_stay_texts(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\n007,1.0\n2020-01-01,NA\ntrue,\n")
    assert read_table(path) == {"text": ["007", "2020-01-01", "true"], "label": ["1.0", "NA", ""]}


def test_missing_files_folders_and_columns_are_explained(tmp_path):
    with pytest.raises(InputError, match=r"no\.csv: no such file"):
        read_texts(tmp_path / "no.csv")
    with pytest.raises(InputError, match="is a folder, expected one file"):
        read_texts(tmp_path)
    path = tmp_path / "data.csv"
    path.write_text("text,stars\na,1\n")
    with pytest.raises(InputError, match=r"no column 'body', there are 'text', 'stars'; pass .* `text`$"):
        read_texts(path, text="body")
    with pytest.raises(InputError, match=r"no column 'other', .*`text_pair`$"):
        read_texts(path, text_pair="other")
    with pytest.raises(InputError, match=r"no column 'label', there are 'text', 'stars'; .*`label`$"):
        read_texts(path, need_labels=True)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(InputError, match="1 labels for 2 texts"):
        TextData(("a", "b"), None, ("1",), "memory")
    with pytest.raises(InputError, match="1 pairs for 2 texts"):
        TextData(("a", "b"), ("c",), None, "memory")
