"""Damaged files of texts: each is refused with an InputError of one line, or is read as texts that a tokenizer takes.

Csv, tsv, json, jsonl and txt files lose, gain and exchange bytes: quotes, separators, line ends, marks of encodings,
NUL bytes, halves of characters, deep nesting, other types.

Run: python -m checks.fuzz_data --cases 100000
"""

import argparse
import random
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from infoprune.data.texts import read_texts
from infoprune.errors import InputError

ROWS = (("a good film", "1"), ('an "odd", café; \u2028 one', "0"), ("two\nlines | and\ttab", "1"), ("", "0"))
QUOTED = [[f'"{field.replace(chr(34), 2 * chr(34))}"' for field in row] for row in (("text", "label"), *ROWS)]
ESCAPED = [text.replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") for text, _ in ROWS]
OBJECTS = [f'{{"text": "{text}", "label": {label}}}' for text, (_, label) in zip(ESCAPED, ROWS, strict=True)]
FILES = {
    ".csv": "\n".join(",".join(row) for row in QUOTED),
    ".tsv": "\n".join("\t".join(row) for row in QUOTED),
    ".jsonl": "\n".join(OBJECTS),
    ".json": "[" + ",\n ".join(OBJECTS) + "]",
    ".txt": "\n".join(text.replace("\n", " ") for text, _ in ROWS),
}
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "utf-7")
PIECES = (
    b"",
    b'"',
    b"'",
    b",",
    b";",
    b"\t",
    b"|",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xed\xa0\x80",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
    b"\\ud800",
    b"null",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"sep=;\n",
    b"text",
    b"label",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"PAR1",
    b"x" * 300_000,
)


def damaged(chance: random.Random, suffix: str) -> bytes:
    """Return the bytes of a file, in some encoding, with up to five changes."""
    text = FILES[suffix if chance.random() < 0.95 else chance.choice(list(FILES))]
    for separator in (",", "\t"):
        if suffix in (".csv", ".tsv") and chance.random() < 0.2:
            text = text.replace(separator, chance.choice(",;\t|:"))
    data = text.encode(chance.choice(ENCODINGS), errors="replace")
    for _ in range(chance.randrange(6)):
        at, size = chance.randrange(len(data) + 1), chance.choice((0, 0, 1, 1, 2, 12, 60))
        weights = [0.002 if len(piece) > 1000 else 1 for piece in PIECES]
        piece = chance.choices(PIECES, weights)[0] if chance.random() < 0.8 else chance.randbytes(chance.randrange(4))
        data = data[:at] + piece + data[at + size :]
    return data


def outcome(path: Path) -> str:
    """Read a file and return what came of it; what must not happen ends the program."""
    try:
        found = read_texts(path)
    except InputError as error:
        if "\n" in str(error):
            raise SystemExit(f"a message of several lines: {str(error)!r}") from error
        return "refused"
    if not found.texts or not all(isinstance(text, str) for text in found.texts):
        raise SystemExit(f"no texts: {found!r:.400}")
    for text in found.texts:
        text.encode()
    if found.labels is not None and len(found.labels) != len(found.texts):
        raise SystemExit(f"labels of another number: {found!r:.400}")
    return "read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, found, began = random.Random(options.seed), Counter(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(options.cases):
            suffix = chance.choice(list(FILES))
            path = Path(folder) / f"data{suffix}"
            data = damaged(chance, suffix)
            path.write_bytes(data)
            try:
                found[outcome(path)] += 1
            except Exception as error:
                raise SystemExit(f"case {number}, {suffix}: {error!r:.300} for {data!r:.2000}") from error
    seconds = time.perf_counter() - began
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(found.items()))
    print(f"{options.cases:,} files, seed {options.seed}: {counts}, 0 other errors, {seconds:.0f} s")


if __name__ == "__main__":
    main()
