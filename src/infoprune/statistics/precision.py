"""Precision: float64 on the tensor's own device, or on the CPU for devices that do not have it."""

import torch
from torch import Tensor


def exact(x: Tensor) -> Tensor:
    """Return the tensor in float64 without gradient; from a device that lacks float64 (Apple's MPS) on the CPU."""
    x = x.detach()
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
