"""Separated values: other separators than the usual one, quotes left open, files without a header."""

import warnings

import pytest

from infoprune.data.texts import read_texts
from infoprune.errors import InputError

ROWS = [("a good film, and long", "1"), ("a bad film; dull", "0"), ("a | b", "1")]
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}


def separated(separator, rows=ROWS, header=("text", "label")):
    quoted = [[f'"{field}"' if separator in field else field for field in row] for row in (header, *rows)]
    return "\n".join(separator.join(row) for row in quoted) + "\n"


def written(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_separator_is_recognised_and_named(tmp_path, separator, suffix):
    path = written(tmp_path, separated(separator), f"data{suffix}")
    usual = "," if suffix == ".csv" else "\t"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = read_texts(path)
    assert list(zip(data.texts, data.labels, strict=True)) == ROWS
    named = [f"fields are separated by {SEPARATORS[separator]}" in str(each.message) for each in said]
    assert named == ([] if separator == usual else [True])


def test_semicolons_are_recognised_where_texts_have_commas_or_none_has(tmp_path):
    for texts in (("one", "two"), ("one, two", "three, four"), ("a, b, c", "d")):
        path = written(tmp_path, separated(";", [(text, "1") for text in texts]))
        with pytest.warns(UserWarning, match="separated by semicolons, and were read so; .csv files usually have"):
            assert read_texts(path).texts == texts


def test_a_text_with_one_separator_too_many_is_named_by_its_line(tmp_path):
    path = written(tmp_path, "text;label\ngood;1\nbad; dull;0\nfine;1\n")
    with (
        pytest.warns(UserWarning, match="separated by semicolons"),
        pytest.raises(InputError, match=r"ending at line 3 has 3 fields, expected 2 .*contain the separator \(;\)$"),
    ):
        read_texts(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("text\na; b\nc\n", ("a; b", "c")),
        ("text\na; b\nc; d\n", ("a; b", "c; d")),
        ("text|raw,label\na,1\nb,0\n", ("a", "b")),
        ("text,label\na;b,1\nc;d,0\n", ("a;b", "c;d")),
        ("text\n\n", None),
    ],
)
def test_commas_and_single_columns_stay_what_they_are(tmp_path, content, texts):
    path = written(tmp_path, content)
    if texts is None:
        with pytest.raises(InputError, match="no rows"):
            read_texts(path)
    else:
        column = "text|raw" if "|" in content else None
        assert read_texts(path, text=column).texts == texts


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_line_that_spreadsheets_write_is_obeyed(tmp_path, end):
    assert read_texts(written(tmp_path, f"sep=;{end}text;label{end}a, b;1{end}")).texts == ("a, b",)
    with pytest.raises(InputError, match="ending at line 4 has 1 fields"):
        read_texts(written(tmp_path, f"sep=;{end}text;label{end}a;1{end}b{end}"))


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ('text,label\nok,1\n"open,1\nmore,0\nlast,1\n', "malformed from line 3 on"),
        ('text,label\nok,1\n"open,1\nmore,0\n"closed",1\n', "malformed from line 3 on"),
        ('text,label\n"two\nlines",1\n"open,1\n', "malformed at line 4"),
    ],
    ids=["to the end", "to the next quote", "after a text of two lines"],
)
def test_an_open_quote_is_blamed_where_its_row_begins(tmp_path, content, where):
    with pytest.raises(InputError, match=where):
        read_texts(written(tmp_path, content))


def test_names_of_columns_lose_the_spaces_around_them(tmp_path):
    data = read_texts(written(tmp_path, "text, label\ngood, 1\n"))
    assert (data.texts, data.labels) == (("good",), ("1",))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("the film is good and long,1\nbad,0\n", r"it looks like a text \('the film is good and long'\)"),
        ("Splendid film!\nbad\n", r"it looks like a text \('Splendid film!'\)"),
        ("good film,1\nbad film,0\nfine film,1\n", "it has '1', which is a value of that column too"),
    ],
)
def test_a_first_line_that_is_a_row_is_told(tmp_path, content, why):
    with pytest.warns(UserWarning, match=f"the first line is the header, so it is not read as a text, but {why}"):
        read_texts(written(tmp_path, content))


@pytest.mark.filterwarnings("error")
def test_a_header_may_be_a_question_if_it_is_named(tmp_path):
    path = written(tmp_path, "How did you like the film?,label\ngood,1\n")
    assert read_texts(path, text="How did you like the film?").texts == ("good",)


def test_a_first_line_that_is_a_row_is_told_where_no_column_is_found(tmp_path):
    path = written(tmp_path, "the film is good and long,pos\nbad,neg\n")
    with pytest.raises(InputError, match=r"2 other columns of texts .*; the first line must be a header; pass"):
        read_texts(path)


def test_a_repeated_header_is_told(tmp_path):
    path = written(tmp_path, "text,label\na,1\ntext,label\nb,0\n")
    with pytest.warns(UserWarning, match=r"line 3 repeats the header \(1 such rows\)"):
        read_texts(path)


def test_a_table_in_a_txt_file_is_told(tmp_path):
    path = written(tmp_path, "text,label\na,1\n", "data.txt")
    with pytest.warns(UserWarning, match="looks like the header of a table, .*rename it to .csv"):
        assert read_texts(path).texts == ("text,label", "a,1")
