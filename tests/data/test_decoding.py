"""Encodings and archives: what is read, and a remedy that leads to a file that is read."""

import codecs
import gzip
import shlex
import subprocess
import zipfile

import pytest

from infoprune.data.texts import read_texts
from infoprune.errors import InputError

TEXTS = ("café “good”", "naïve … dull")
CSV = "text,label\n" + "".join(f"{text},{row}\n" for row, text in enumerate(TEXTS))
FILES = {
    "data.csv": CSV,
    "data.tsv": CSV.replace(",", "\t"),
    "data.jsonl": "".join(f'{{"text": "{text}"}}\n' for text in TEXTS),
    "data.json": "[" + ",\n".join(f'{{"text": "{text}"}}' for text in TEXTS) + "]",
    "data.txt": "\n".join(TEXTS),
}
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_marked_file_is_read(tmp_path, name, encoding, end):
    path = tmp_path / name
    path.write_bytes(MARKS[encoding] + FILES[name].replace("\n", end).encode(encoding))
    assert read_texts(path).texts == TEXTS


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "cp1252", "latin1"])
def test_the_remedy_for_another_encoding_works_when_followed(tmp_path, encoding):
    path = tmp_path / "data.csv"
    text = CSV if encoding != "latin1" else CSV.replace("“", '""').replace("”", '""').replace("…", "-")
    text = text if encoding != "latin1" else text.replace('café ""good""', '"café ""good"""')
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"expected UTF-8 text; convert it, e\.g\. iconv -f") as caught:
        read_texts(path)
    command = str(caught.value).partition("e.g. ")[2]
    path.write_bytes(subprocess.run([*shlex.split(command), path], capture_output=True, check=True).stdout)
    expected = TEXTS if encoding != "latin1" else ('café "good"', "naïve - dull")
    assert read_texts(path).texts == expected


@pytest.mark.parametrize("name", FILES)
def test_a_nul_byte_is_named_by_its_line(tmp_path, name):
    path = tmp_path / name
    lines = FILES[name].encode().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:-1], lines[-1] or b"x"]).replace(b"dull", b"du\0l"))
    line = next(number for number, each in enumerate(lines, start=1) if b"dull" in each)
    with pytest.raises(InputError, match=f"holds a NUL byte at line {line}, expected text; remove it"):
        read_texts(path)


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.csv", CSV)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: path.write_bytes(gzip.compress(CSV.encode())),
            r"is compressed \(gzip\), .*unpack it with",
        ),
        (archive, "is a zip archive or a spreadsheet, .*export the sheet as UTF-8 csv"),
        (lambda path: path.write_bytes(b"PAR1" + bytes(9)), "is a parquet file, expected text; rename it to .parquet"),
        (lambda path: path.write_bytes(CSV.encode()[:10] + "é".encode()[:1]), "ends within a character"),
        (lambda path: path.write_bytes(codecs.BOM_UTF16_LE + b"abc"), "begins with the mark of UTF-16, but is not"),
    ],
    ids=["gzip", "zip", "parquet", "cut off", "odd"],
)
def test_what_is_no_text_is_named(tmp_path, write, message):
    path = tmp_path / "data.csv"
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        read_texts(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "remedy"), [("a.csv.gz", "unpack it first"), ("a.xlsx", "export the sheet")])
def test_other_files_have_a_remedy_of_their_own(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=f"unknown file type .*; .*{remedy}"):
        read_texts(tmp_path / name)


def test_lines_may_end_as_on_old_macs(tmp_path):
    for name in ("data.txt", "data.jsonl", "data.csv"):
        path = tmp_path / name
        path.write_bytes(FILES[name].replace("\n", "\r").encode())
        assert read_texts(path).texts == TEXTS
