"""Pairs: the units of a site and what lies above them, token by token."""

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
    """What a criterion needs to know of a site and of what lies above it.

    Args:
        target: What lies above the topmost site.
        samples: Number of tokens to sample at each site, in proportion to their weight; None asks for the moments of
            all tokens.
        smoothing: Weight of a token without gradient, as a fraction of the mean; inf weights all tokens alike.
    """

    target: Target
    samples: int | None
    smoothing: float


@dataclass(frozen=True)
class Pairs:
    """Coordinates x of a site, n of them, and coordinates y above it, m of them, at the same tokens.

    Args:
        above: Site whose units y are; None where y is the target.
        here: Number n of coordinates of the site.
        upper: Number m of coordinates above it.
        joint: Moments of (x, y), over n + m variables; or the sampled tokens, (t, n + m) float32.
        preserved: Coordinates of y that count, (k,); None for all.
    """

    above: Site | None
    here: int
    upper: int
    joint: Moments | Float[Tensor, "t n_m"]
    preserved: Int[Tensor, " k"] | None = None

    @property
    def size(self) -> int:
        """Number of coordinates of a unit above; every logit or class is one."""
        return 1 if self.above is None else self.above.size

    def preserving(self, units: Sequence[int]) -> Pairs:
        """Return the same pairs with only some of the units above."""
        index = torch.tensor(sorted(units))
        return replace(self, preserved=(index[:, None] * self.size + torch.arange(self.size)).reshape(-1))

    def chosen(self, device: torch.device) -> Int[Tensor, " n_k"]:
        """Return the columns of x, and of the k preserved coordinates of y, in (x, y)."""
        above = torch.arange(self.upper) if self.preserved is None else self.preserved
        return torch.cat([torch.arange(self.here), above + self.here]).to(device)
