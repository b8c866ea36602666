"""Linear maps: y = W x + b, for every way in which a model stores W."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from infoprune.errors import InputError


@dataclass(frozen=True)
class LinearMap:
    """A linear module seen as y = W x + b with W (outputs, inputs); the tensors share memory with the module's.

    Args:
        module: A torch.nn.Linear, or a Conv1D of transformers, which stores W transposed.
    """

    module: nn.Linear | Conv1D

    @property
    def transposed(self) -> bool:
        """Whether the module stores (inputs, outputs)."""
        return isinstance(self.module, Conv1D)

    @property
    def weight(self) -> Float[Tensor, "o n"]:
        """W, without gradient."""
        weight: Tensor = self.module.weight.detach()
        return weight.T if self.transposed else weight

    @property
    def bias(self) -> Float[Tensor, " o"] | None:
        """b, without gradient; None where there is none."""
        bias: Tensor | None = self.module.bias
        return None if bias is None else bias.detach()

    def scaled(self, scale: Float[Tensor, " o"]) -> LinearMap:
        """Return the map whose outputs are multiplied by factors, as a module of its own."""
        outputs, inputs = self.weight.shape
        module = nn.Linear(inputs, outputs, bias=self.bias is not None, device="meta")
        module.weight = nn.Parameter(self.weight * scale[:, None])
        if self.bias is not None:
            module.bias = nn.Parameter(self.bias * scale)
        return LinearMap(module)

    def followed_by(self, matrix: Float[Tensor, "p o"]) -> LinearMap:
        """Return the map whose outputs are mapped by a matrix, in its precision, as a module of its own."""
        inputs = self.weight.shape[1]
        module = nn.Linear(inputs, len(matrix), bias=self.bias is not None, device="meta")
        module.weight = nn.Parameter(matrix @ self.weight.to(matrix))
        if self.bias is not None:
            module.bias = nn.Parameter(matrix @ self.bias.to(matrix))
        return LinearMap(module)

    def write_unscaled(self, scaled: LinearMap, scale: Float[Tensor, " o"]) -> None:
        """Write the map of which another is the scaled one, in place; outputs with the factor 0 stay as they are."""
        rows = scale != 0
        self.weight[rows] = scaled.weight[rows] / scale[rows, None]
        if self.bias is not None and scaled.bias is not None:
            self.bias[rows] = scaled.bias[rows] / scale[rows]

    def keep_outputs(self, rows: Int[Tensor, " k"]) -> None:
        """Keep some rows of W and the same entries of b, in place."""
        self._keep(0, rows)
        bias: nn.Parameter | None = self.module.bias
        if bias is not None:
            index = rows.to(bias.device)
            self.module.bias = nn.Parameter(bias.detach()[index], requires_grad=bias.requires_grad)

    def keep_inputs(self, columns: Int[Tensor, " k"]) -> None:
        """Keep some columns of W, in place."""
        self._keep(1, columns)

    def _keep(self, axis: int, index: Int[Tensor, " k"]) -> None:
        weight = self.module.weight
        stored = 1 - axis if self.transposed else axis
        kept = weight.detach().index_select(stored, index.to(weight.device)).contiguous()
        self.module.weight = nn.Parameter(kept, requires_grad=weight.requires_grad)
        outputs, inputs = self.weight.shape
        if isinstance(self.module, nn.Linear):
            self.module.out_features, self.module.in_features = outputs, inputs
        else:
            self.module.nf, self.module.nx = outputs, inputs


def untranspose(model: nn.Module, path: str) -> None:
    """Replace a Conv1D by a torch.nn.Linear of the same map, in place: a Conv1D cannot run without inputs."""
    seen = linear(model, path)
    if not seen.transposed:
        return
    outputs, _ = seen.weight.shape
    module = nn.Linear(1, outputs, bias=seen.bias is not None, device="meta")
    module.weight = nn.Parameter(seen.weight.contiguous(), requires_grad=seen.module.weight.requires_grad)
    module.bias = seen.module.bias
    module.in_features = seen.weight.shape[1]
    model.set_submodule(path, module.train(seen.module.training))


def is_linear(model: nn.Module, path: str) -> bool:
    """Return whether the module at a path is a linear one."""
    return isinstance(model.get_submodule(path), nn.Linear | Conv1D)


def linear(model: nn.Module, path: str) -> LinearMap:
    """Return the linear module at a path.

    Raises:
        InputError: If the module is neither a torch.nn.Linear nor a Conv1D, but for example a quantised layer or one
            with an adapter.
    """
    module = model.get_submodule(path)
    if not isinstance(module, nn.Linear | Conv1D):
        raise InputError(
            f"{path} is a {type(module).__name__}, expected torch.nn.Linear; prune before quantising or adding adapters"
        )
    return LinearMap(module)
