"""Huber weights: bound the influence of tokens with very large activations."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from infoprune.statistics.products import wide

LIMIT = 16.0
"""Number of median tokens of its text that one token may count for; it has not been tuned."""


def huber_weights(
    x: Float[Tensor, "texts length n"], real: Bool[Tensor, "texts length"], limit: float = LIMIT
) -> Float[Tensor, "texts length"]:
    r"""Return token weights min(1, limit * m / |x_t|^2), m the median of |x_t|^2 over the text's real tokens.

    Language models mark the first token of a text with activations that are hundreds of times as long as all others
    (massive activations, attention sinks), and the norms above take their length away again. In a sum of products such
    a token counts 10^5 times; with these weights it counts as `limit` tokens at most. The median is that of one text,
    so that it does not matter which texts share a batch.

    Args:
        x: Activations or errors, (texts, length, n).
        real: Which tokens are not padding; the others get weight 0.
        limit: Limit in medians; inf leaves all tokens as they are.

    Source:
        Weights that fall with the squared distance are Huber's for location and scatter (P. J. Huber, *Robust
        Statistics*, 1981, chapter 8); massive activations: M. Sun et al., *Massive Activations in Large Language
        Models*, COLM 2024.

    Examples:
        >>> x = torch.tensor([[[100.0], [1.0], [1.0]]])
        >>> huber_weights(x, torch.ones(1, 3, dtype=torch.bool))
        tensor([[0.0016, 1.0000, 1.0000]], dtype=torch.float64)
    """
    energy = torch.linalg.vector_norm(wide(x), dim=-1).double().square()
    allowed = limit * energy.masked_fill(~real, torch.nan).nanmedian(-1, keepdim=True).values
    weights = torch.where((energy > allowed) & energy.isfinite(), allowed / energy, 1.0)
    return weights.masked_fill(~real, 0.0)
