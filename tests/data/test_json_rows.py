"""JSON files as tools write them: whole documents, columns, lines; a fault is named where it is."""

import json

import pandas
import pytest

from infoprune.data.texts import read_texts
from infoprune.errors import InputError

ROWS = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]


def written(tmp_path, content, name="data.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        json.dumps(ROWS, indent=2),
        {"data": ROWS},
        {"version": "1.1", "data": ROWS},
        pandas.DataFrame(ROWS).to_json(),
        pandas.DataFrame(ROWS).to_json(orient="records"),
        pandas.DataFrame(ROWS).to_json(orient="records", lines=True),
        pandas.DataFrame(ROWS).to_json(orient="columns", indent=2),
    ],
)
def test_documents_of_many_tools_are_read(tmp_path, content):
    data = read_texts(written(tmp_path, content))
    assert (data.texts, data.labels) == (("a", "b"), ("0", "1"))


@pytest.mark.parametrize("content", [json.dumps(ROWS), json.dumps(ROWS, indent=1), "\ufeff" + json.dumps(ROWS)])
def test_a_list_in_a_jsonl_file_is_read(tmp_path, content):
    assert read_texts(written(tmp_path, content, "data.jsonl")).texts == ("a", "b")


def test_a_fault_is_named_by_its_line(tmp_path):
    lines = json.dumps(ROWS, indent=2).split("\n")
    lines[5] = '  { "text": b,'
    with pytest.raises(InputError, match=r"not JSON \(.*line 6 column 13 .*correct it there"):
        read_texts(written(tmp_path, "\n".join(lines)))
    with pytest.raises(InputError, match=r"line 2 is not JSON \(.*\), expected an object per line; correct that line"):
        read_texts(written(tmp_path, '{"text": "a"}\n{"text": b}\n'))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"text": "a"},\n{"text": "b"},\n',
            "line 1 is not JSON .*remove the comma at the end",
        ),
        ("a.json", '{"text": "a"}\n{"text": "b"},\n', "line 2 is not JSON .*remove the comma at the end"),
        ("a.jsonl", '{\n  "text": "a"\n}\n', "line 1 is not JSON .*rename it to .json"),
        (
            "a.json",
            '{"text": ["a", "b"], "label": [0]}',
            r"different lengths \('text' 2, 'label' 1\), .*list of",
        ),
        ("a.json", "[" * 100_000, r"not JSON \(nested too deeply\)"),
        ("a.json", '[{"text": "a"}, 3]', "row 2 is a JSON int"),
        (
            "a.json",
            '[{"text": ["a", ["b"]]}]',
            r"row 1 holds \['a', \['b'\]\] \(list\) in column 'text'",
        ),
        (
            "a.json",
            '[{"text": [{"role": "user"}]}]',
            "row 1 holds .*; join it to one text, .*apply_chat",
        ),
        ("a.json", '[{"text": ["a", null]}]', "row 1 holds .*expected a text"),
        ("a.json", '[{"text": NaN}]', "row 1 is null in column 'text', expected a text; fill or remove the row"),
        ("a.json", '[{"text": 5}]', "row 1 holds 5 .*; write it as a text, in quotes"),
        ("a.json", '[{"text": "\\ud800 a"}]', "text 1 holds half of a surrogate pair"),
    ],
)
def test_what_cannot_be_read_is_explained_in_one_line(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_texts(written(tmp_path, content, name))
    assert "\n" not in str(caught.value)
