"""Sparse kernels: linear maps whose weights are stored as compressed rows (torch.sparse)."""

import copy
import warnings

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.gradual_pruning.weights import layer_maps

INDEX = 4
"""Bytes of the index of a column or a row."""


class SparseLinear(nn.Module):
    """y = W x + b with W in compressed rows."""

    def __init__(self, module: nn.Linear) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Ss]parse CSR.*")
            self.weight = module.weight.detach().to_sparse_csr()
        self.bias = module.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + b for the tokens of all inputs."""
        rows = x.reshape(-1, x.shape[-1])
        return torch.addmm(self.bias[:, None], self.weight, rows.T).T.reshape(*x.shape[:-1], -1)


def with_sparse_maps(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy whose layers skip the zeros of their weights."""
    small = copy.deepcopy(model)
    for path in layer_maps(small):
        small.set_submodule(path, SparseLinear(small.get_submodule(path)))
    return small


def sparse_bytes(model: PreTrainedModel) -> int:
    """Return the bytes of all parameters, with layers' weights in compressed rows, or dense if that is smaller."""
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    for each in layer_maps(model).values():
        weight = each.weight
        rows = int(weight.count_nonzero()) * (weight.element_size() + INDEX) + (len(weight) + 1) * INDEX
        total -= max(0, weight.numel() * weight.element_size() - rows)
    return total
