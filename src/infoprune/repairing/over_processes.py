"""Over processes: the sums of a regression over the samples of a process group."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from infoprune.processes import add_up
from infoprune.repairing.ridge import Sums


def over_processes(parts: Sequence[Sums]) -> list[Sums]:
    """Return the same sums over the samples of all processes."""
    squares = torch.tensor([part.tt for part in parts], dtype=torch.float64)
    add_up(squares, *(tensor for part in parts for tensor in (part.xx, part.xt)))
    return [Sums(part.xx, part.xt, float(tt)) for part, tt in zip(parts, squares, strict=True)]
