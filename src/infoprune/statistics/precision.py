"""Where float64 lives: on the tensor's own device, or on the CPU for devices that do not have it."""

import torch
from torch import Tensor


def exact(x: Tensor) -> Tensor:
    """The tensor in float64, without gradient; from a device without float64 (Apple's MPS) it moves to the CPU."""
    x = x.detach()
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
