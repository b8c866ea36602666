"""Scale: the factors by which a block's output is multiplied before it is added to the residual."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infoprune.structure.linear import linear


def output_scale(model: nn.Module, module: str, scale: str | float | None) -> Float[Tensor, " o"] | None:
    """Return a factor for every output of a linear module; None where the output is added as it is.

    Args:
        model: The model.
        module: Path of the linear module.
        scale: Path of a parameter with the factors, one factor for all outputs, or None.
    """
    if scale is None:
        return None
    if isinstance(scale, str):
        return model.get_parameter(scale).detach()
    weight = linear(model, module).weight
    return torch.full((len(weight),), scale, dtype=weight.dtype, device=weight.device)
