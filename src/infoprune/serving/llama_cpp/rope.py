"""Rotary positions: the frequencies of a model, as divisors of those that llama.cpp computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.errors import InputError

VARYING = ("dynamic", "longrope")
"""Types whose frequencies depend on the length of the text."""


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding: pair i of a head turns by base^(-2i/size) / divisors[i] per token.

    Args:
        base: Base of the frequencies.
        size: Size of a head.
        divisors: Divisor of every frequency, (size / 2,); None where all are 1.
        scale: Factor of the rotated queries, and of the rotated keys.
    """

    base: float
    size: int
    divisors: Float[Tensor, " pairs"] | None = None
    scale: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether base and size say all."""
        return self.divisors is None and self.scale == 1


def read_rope(model: PreTrainedModel) -> Rope:
    """Read the frequencies that a model uses, of whichever type of scaling.

    Raises:
        InputError: The frequencies depend on the length of the text.
    """
    decoder: Any = model.base_model
    rotary = decoder.rotary_emb
    if rotary.rope_type in VARYING:
        raise InputError(
            f"the model's rotary frequencies depend on the length of the text (rope_type {rotary.rope_type}), expected "
            "constant ones, such as llama3 or yarn: GGUF stores one set; run this model in PyTorch"
        )
    config = model.config.to_dict()
    base = float((config.get("rope_parameters") or config)["rope_theta"])  # transformers 4 has no rope_parameters
    frequencies = rotary.inv_freq.detach().to("cpu", torch.float64)
    size = 2 * len(frequencies)
    divisors = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size) / frequencies
    same = torch.allclose(divisors, torch.ones_like(divisors), rtol=1e-5)
    return Rope(base, size, None if same else divisors.float(), float(rotary.attention_scaling))
