"""Kept tensors: a store on disk for what a pass computes and a later one reads, deleted at its end."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infoprune.errors import InputError
from infoprune.files.drafts import open_draft


class KeptTensors:
    """Lists of tensors by key, in files in the folder for temporary files (TMPDIR moves it).

    The files of a process that was killed are deleted by the next one.

    Examples:
        >>> with KeptTensors() as kept:
        ...     kept.put("states", [torch.zeros(2)])
        ...     kept.get("states")
        [tensor([0., 0.])]
    """

    def __init__(self) -> None:
        self._above = Path(tempfile.gettempdir()).resolve()
        self._folder: Path | None = None
        self._drop: Callable[[], None] = lambda: None
        self._files: dict[Hashable, Path] = {}
        self._count = 0
        self._likes: dict[Hashable, list[tuple[torch.Size, torch.dtype, torch.device]]] = {}

    def __enter__(self) -> KeptTensors:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def put(self, key: Hashable, tensors: Sequence[Tensor]) -> None:
        """Keep some tensors in the place of those that were kept under the key.

        Raises:
            InputError: The disk is full.
        """
        if self._folder is None:
            self._folder, self._drop = open_draft(self._above / "infoprune-states")
        if key not in self._files:
            self._files[key] = self._folder / f"{self._count}.safetensors"
            self._count += 1
        file = self._files[key]
        found = {str(index): each.detach().cpu().contiguous().clone() for index, each in enumerate(tensors)}
        try:
            save_file(found, file)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"the states of the layers do not fit into {self._above} ({error}); free some space there, or "
                "set TMPDIR to a folder on a larger disk"
            ) from None
        self._likes[key] = [(each.shape, each.dtype, each.device) for each in tensors]

    def get(self, key: Hashable) -> list[Tensor]:
        """Return the tensors of a key."""
        found = load_file(self._files[key])
        return [found[str(index)].to(device) for index, (_, _, device) in enumerate(self._likes[key])]

    def drop(self, key: Hashable) -> None:
        """Delete the tensors of a key."""
        self._files.pop(key).unlink()
        del self._likes[key]

    def shapes(self, key: Hashable) -> list[Tensor]:
        """Return zeros of the same shapes, which take no memory."""
        return [torch.zeros((), dtype=dtype, device=device).expand(shape) for shape, dtype, device in self._likes[key]]

    @property
    def bytes(self) -> int:
        """Bytes of everything that is kept."""
        return sum(math.prod(shape) * dtype.itemsize for each in self._likes.values() for shape, dtype, _ in each)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._files

    def check_room(self, needed: int) -> None:
        """Raise InputError where the disk has no room for so many bytes more."""
        free = shutil.disk_usage(self._above).free
        if needed > free:
            raise InputError(
                f"statistics and states of the layers take {needed:,} bytes, and {self._above} has {free:,}; free "
                "some space there, or set TMPDIR to a folder on a larger disk"
            )
