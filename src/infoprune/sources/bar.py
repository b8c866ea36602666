"""Bar: the progress of huggingface_hub's downloads, given to a function of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from huggingface_hub.utils.tqdm import tqdm

STAGE = "fetch MB"
"""Name of the stage; its numbers are megabytes."""

MEGABYTE = 1_000_000
_TOTAL = "huggingface_hub.snapshot_download"

Advance = Callable[[str, int, int], None]


def bar_class(progress: Advance | None) -> type[tqdm]:
    """Return a class of bars that are never shown; that of all files together reports its bytes.

    Args:
        progress: Called with (stage, megabytes done, megabytes in total); None reports nothing.
    """

    class Bar(tqdm):
        def __init__(self, *args: object, **options: Any) -> None:  # noqa: ANN401  those of tqdm
            self._reports = options.get("name") == _TOTAL and options.get("unit") == "B"
            self._done = 0.0
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            """Count bytes; a disabled bar would not."""
            if self._reports and progress is not None:
                with self.get_lock():
                    self._done += n or 0
                    of = max(self._done, self.total or 0)
                    progress(STAGE, int(self._done // MEGABYTE), max(1, int(of // MEGABYTE)))

    return Bar
