"""Pairs: the units of a site beside what stands above them, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infoprune.statistics.moments import Moments
from infoprune.structure.site import Site

Target = Literal["logits", "labels"]


@dataclass(frozen=True)
class Pairing:
    """What a criterion wants to know of a site and of what stands above it.

    Args:
        target: what stands above the topmost site.
        samples: how many tokens to draw at each site, in proportion to their weight; None asks for the moments of all.
        floor: weight of a token without gradient, a fraction of the mean; inf weighs all tokens alike.
    """

    target: Target
    samples: int | None
    floor: float


@dataclass(frozen=True)
class Pairs:
    """The n coordinates x of a site and the m coordinates y above it, at the same tokens.

    Args:
        above: the site whose units y are; None where y is the target.
        here: n.
        upper: m.
        joint: moments of (x, y), over n + m variables; or the tokens drawn, (t, n + m) float32.
        preserved: which coordinates of y count, (k,); None for all.
    """

    above: Site | None
    here: int
    upper: int
    joint: Moments | Float[Tensor, "t n_m"]
    preserved: Int[Tensor, " k"] | None = None

    @property
    def size(self) -> int:
        """Coordinates of a unit above; every logit or class is one."""
        return 1 if self.above is None else self.above.size

    def preserving(self, units: Sequence[int]) -> Pairs:
        """The same, with only some of the units above."""
        index = torch.tensor(sorted(units))
        return replace(self, preserved=(index[:, None] * self.size + torch.arange(self.size)).reshape(-1))

    def chosen(self, device: torch.device) -> Int[Tensor, " n_k"]:
        """Columns of x and of the k coordinates of y that are preserved, in (x, y)."""
        above = torch.arange(self.upper) if self.preserved is None else self.preserved
        return torch.cat([torch.arange(self.here), above + self.here]).to(device)
