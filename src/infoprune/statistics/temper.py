"""Temper: no token may speak for hundreds of others."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from infoprune.statistics.precision import exact

LIMIT = 16.0
"""Median tokens of its text that a token may count for; the number has not been tuned."""


def tempered(
    x: Float[Tensor, "texts length n"], real: Bool[Tensor, "texts length"], limit: float = LIMIT
) -> Float[Tensor, "texts length"]:
    r"""Weights min(1, limit * m / |x_t|^2) of tokens, m the median of |x_t|^2 over the real tokens of the same text.

    Language models mark the first token of a text with activations that are hundreds of times as long as all others
    (massive activations, attention sinks), and norms above take their length away again. In a sum of products such a
    token counts 10^5 times; weighted so, it counts as `limit` tokens at most. Within a text, so that it does not matter
    which texts share a batch.

    Args:
        x: activations or errors, (texts, length, n).
        real: which tokens are not padding; the others get weight 0.
        limit: in medians; inf leaves all tokens as they are.

    Source: weights that fall with the squared distance are Huber's for location and scatter (P. J. Huber, *Robust
    Statistics*, 1981, chapter 8); massive activations: M. Sun et al., *Massive Activations in Large Language Models*,
    COLM 2024.

    Example:
        >>> x = torch.tensor([[[100.0], [1.0], [1.0]]])
        >>> tempered(x, torch.ones(1, 3, dtype=torch.bool))
        tensor([[0.0016, 1.0000, 1.0000]], dtype=torch.float64)
    """
    energy = exact(x).square().sum(-1)
    allowed = limit * energy.masked_fill(~real, torch.nan).nanmedian(-1, keepdim=True).values
    weights = torch.where((energy > allowed) & energy.isfinite(), allowed / energy, 1.0)
    return weights.masked_fill(~real, 0.0)
