"""Without inputs: linear modules of removed blocks, in a form of which a graph keeps only the bias."""

from __future__ import annotations

from torch import Tensor, nn


class WithoutInputs(nn.Linear):
    """Linear module of no inputs, whose output is its bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) for an input (..., 0)."""
        zeros = x.new_zeros(*x.shape[:-1], self.out_features)
        return zeros if self.bias is None else zeros + self.bias


def without_empty_products(model: nn.Module) -> None:
    """Replace the products with weights of no elements in a model, in place.

    ONNX Runtime computes them, but OpenVINO takes such a weight for a number, and a quantiser finds no scale for it.
    """
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.shape[1] == 0:
            module.__class__ = WithoutInputs
