"""Decoding: the text of a file: UTF-8, or UTF-16 and UTF-32 by their mark; anything else is refused with a remedy."""

import codecs
from pathlib import Path

from infoprune.errors import InputError

_MARKS = {  # the longest first: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_TEXT = {
    b"\x1f\x8b": ("compressed (gzip)", "unpack it with gunzip"),
    b"\x28\xb5\x2f\xfd": ("compressed (zstd)", "unpack it with zstd -d"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "unpack it, or export the sheet as UTF-8 csv"),
    b"PAR1": ("a parquet file", "rename it to .parquet"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "fetch it with Git LFS"),
}
_LOOKED_AT = 4096
_SHARE = 0.2  # UTF-16 of western texts is half NUL bytes, of mixed ones less


def decoded(path: Path) -> str:
    """Return the text of a file without its byte order mark.

    Raises:
        InputError: It is not UTF-8, or holds a NUL byte.

    Examples:
        >>> decoded(Path("reviews.csv"))[:10]
        'text,label'
    """
    check_contents(path, "text")
    text = _text(path, path.read_bytes())
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}: holds a NUL byte at line {line}, expected text; remove it, e.g. tr -d '\\000'")
    return text


def check_contents(path: Path, expected: str) -> None:
    """Raise InputError where a file begins as one of another type, e.g. as a pointer that stands for the file.

    Args:
        path: Path of the file.
        expected: Word for what it should be.
    """
    with path.open("rb") as file:
        begin = file.read(_LOOKED_AT)
    for start, (what, remedy) in _NO_TEXT.items():
        if begin.startswith(start) and not what.endswith(f"{expected} file"):
            raise InputError(f"{path}: is {what}, expected {expected}; {remedy}")


def lines_of(text: str) -> list[str]:
    """Split a text at its line ends; a lone carriage return is one where there is no other.

    `str.splitlines` would also split at characters that texts may contain, such as U+2028.
    """
    if "\n" not in text:
        return text.split("\r")
    return [line.rstrip("\r") for line in text.split("\n")]


def _text(path: Path, data: bytes) -> str:
    mark = next((mark for mark in _MARKS if data.startswith(mark)), None)
    if mark is not None:
        try:
            return data.decode(_MARKS[mark])
        except UnicodeDecodeError as error:
            name = _MARKS[mark].upper()
            raise InputError(
                f"{path}: begins with the mark of {name}, but is not {name} (at position {error.start}), expected "
                "UTF-8 text; write the file again"
            ) from error
    first = data[:_LOOKED_AT]
    if first.count(0) > _SHARE * len(first):
        name = "utf-16be" if first[::2].count(0) > first[1::2].count(0) else "utf-16le"
        raise InputError(
            f"{path}: looks like UTF-16 without its mark, expected UTF-8 text; "
            f"convert it, e.g. iconv -f {name} -t utf-8"
        )
    try:
        # The codec utf-8-sig would count positions after the byte order mark.
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if error.end == len(data) and error.reason == "unexpected end of data":
            raise InputError(
                f"{path}: ends within a character, expected UTF-8 text; check that it was written completely"
            ) from error
        raise InputError(
            f"{path}: not UTF-8 (byte 0x{data[error.start]:02x} at position {error.start}), expected UTF-8 text; "
            f"convert it, e.g. iconv -f {_likely(data)} -t utf-8"
        ) from error


def _likely(data: bytes) -> str:
    """Return the likely encoding of a file that is not UTF-8: in Latin-1 the bytes 0x80 to 0x9f mean nothing."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin1"
    return "cp1252" if any(0x80 <= byte < 0xA0 for byte in data) else "latin1"
