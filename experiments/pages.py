"""Pages with several tables: each table lies between two marks and is written by its own experiment."""

from collections.abc import Sequence
from pathlib import Path


def write_part(page: Path, name: str, lines: Sequence[str]) -> None:
    """Replace the lines between the marks with this name."""
    start, end = (f"<!-- {word}: {name} -->" for word in ("table", "end"))
    text = page.read_text(encoding="utf-8")
    if start not in text or end not in text:
        raise SystemExit(f"{page.name} has no marks {start} and {end}, expected both")
    before, after = text.partition(start)[0], text.partition(end)[2]
    page.write_text("\n".join([before + start, "", *lines, "", end + after]), encoding="utf-8")
