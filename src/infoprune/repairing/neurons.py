"""Neurons: re-fitting of the weights that write them, toward the targets of their reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.processes import total
from infoprune.repairing.activation import activation_between
from infoprune.repairing.gauss_newton import Tokens, Weights, gauss_newton, written
from infoprune.repairing.over_processes import over_processes
from infoprune.repairing.ridge import Samples, Sums, part_numbers, sums_by_part
from infoprune.statistics.metric import metric_root
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.slices import Slice

DAMPING = 0.3
"""Chosen from three values on validation texts of one model; a third of it and three times as much lose 1 to 2 %."""

TRIAL = 2
"""Conjugate gradient iterations of the first trial step, which shows whether a re-fit pays."""

STEPS = 2
"""Gauss-Newton steps; a third changes little."""

PER_INPUT = 32
"""Tokens per input of the parts: with fewer, neurons are re-fitted on request only (docs/research/neurons.md)."""

CURVATURE = 64
"""Tokens per input from which J^T J is estimated where there are more; the right-hand side is that of all tokens.
A fourth of it undoes most of the gain."""

CHUNK = 8192
"""Tokens in a chunk of a Gauss-Newton step."""

Fit = Callable[[LinearMap, Sequence[Sums]], tuple[Tensor, Tensor]]
"""Weight (o, m) and bias (o,) of a reader, from the present ones and the sums of its regression by part."""
FitReader = Callable[[Sequence[Sums]], tuple[Tensor, Tensor]]
"""The same for one reader."""


@dataclass(frozen=True)
class Part:
    """Rows of a linear module with one output for every neuron, in the order of the neurons."""

    module: LinearMap
    first: int
    last: int

    def read(self) -> Float[Tensor, "m n"]:
        """Return the weight and, as a last column, the bias."""
        weight, bias = self.module.weight[self.first : self.last], self.module.bias
        return weight if bias is None else torch.cat([weight, bias[self.first : self.last, None]], 1)

    def write(self, values: Float[Tensor, "m n"]) -> None:
        """Write weight and bias, given as by `read`, in place."""
        weight, bias = self.module.weight[self.first : self.last], self.module.bias
        weight.copy_(values[:, : weight.shape[1]])
        if bias is not None:
            bias[self.first : self.last].copy_(values[:, -1])


def enough_tokens(inputs: Sequence[Tensor], samples: Sequence[Samples]) -> bool:
    """Return whether all processes together have `PER_INPUT` tokens for every input of the neurons."""
    return _count(samples) >= PER_INPUT * inputs[0].shape[-1]


def _count(samples: Sequence[Samples]) -> int:
    """Count the tokens with a weight in all processes."""
    return total(sum(int((weights > 0).sum()) for _, _, weights in samples))[0]


def parts_of(model: nn.Module, producers: Sequence[Slice], units: int) -> tuple[Part, ...]:
    """Return the parts that write the neurons of a site, in the order of the family's table."""
    return tuple(
        Part(linear(model, producer.module), units * part, units * (part + 1))
        for producer in producers
        for part in range(len(producer.rows_per_unit))
    )


def refit_neurons(
    model: PreTrainedModel,
    parts: Sequence[Part],
    inputs: Sequence[Tensor],
    samples: Sequence[Samples],
    firsts: Sequence[int],
    reader: LinearMap,
    fit: Fit,
    metric: Float[Tensor, "o o"] | None = None,
) -> list[Tensor]:
    r"""Re-fit the weights that write the neurons of a layer, in place, to reduce the error of their reader.

    With a the parts' outputs, h = act(a) the neurons, y_t - r_t the reader's target at token t and Q the metric,

        min over A, W, b of   sum_t w_t |W act(A x_t) + b - (y_t - r_t)|_Q^2

    in turn: W and b by ridge regression, A by a Gauss-Newton step at fixed W, in coordinates where Q is the identity,

        (J^T J + damping level 1) (A' - A) = J^T (y - r - W h - b) + damping level (A_0 - A),

    solved by conjugate gradients. A first trial step leaves out the texts of the first part: unless the error on these
    texts falls, the neurons stay as they are.

    Args:
        model: Model whose config names the activation function.
        parts: Parts that write the neurons.
        inputs: Inputs of the parts, batch by batch, (batch, length, n).
        samples: Regression of the reader, batch by batch, with m inputs and o targets.
        firsts: Number of the first text of every batch, which decides its part.
        reader: The reader; it stays as it is.
        fit: Fits the reader.
        metric: What a change of the reader's output costs; None for the identity.

    Returns:
        The reader's inputs, batch by batch.

    Source: layer-wise reconstruction on unlabelled inputs as in OSSCAR (X. Meng et al., ICML 2024) and BRECQ (Y. Li
    et al., ICLR 2021), here by damped least squares (K. Levenberg, 1944; D. Marquardt, 1963).
    """
    wide = torch.promote_types(inputs[0].dtype, torch.float32)
    ones = parts[0].module.bias is not None
    part_inputs = [_with_ones(x.to(wide)) if ones else x.to(wide) for x in inputs]
    initial = torch.stack([part.read() for part in parts]).to(wide)
    activation = activation_between(model.config, written(initial, part_inputs[0]), samples[0][0].to(wide))
    hidden = [x for x, _, _ in samples]
    root = None if metric is None else metric_root(metric)[0].to(wide)
    samples = samples if root is None else [(x, target.to(wide) @ root.T, weight) for x, target, weight in samples]
    fit_reader: FitReader = partial(fit, reader if root is None else reader.followed_by(root))

    def sum_samples(inputs: Sequence[Tensor]) -> list[Sums]:
        new = ((x, target, weight) for x, (_, target, weight) in zip(inputs, samples, strict=True))
        return over_processes(sums_by_part(new, firsts, reader.weight))

    sums = sum_samples(hidden)
    if activation is None or not _usable(sums):
        return hidden

    def neurons_of(weights: Weights) -> list[Tensor]:
        return [
            activation(written(weights, x)).to(before.dtype)
            for x, (before, _, _) in zip(part_inputs, samples, strict=True)
        ]

    def step(
        weights: Weights, present: tuple[Tensor, Tensor], some: Sequence[Tokens], iterations: int | None = None
    ) -> Weights:
        columns = inputs[0].shape[-1]
        return gauss_newton(weights, initial, present, activation, some, DAMPING, columns, stride, iterations)

    held_out = [
        (part_numbers(weight, first) == 0)[:, None].expand(weight.shape)
        for first, (_, _, weight) in zip(firsts, samples, strict=True)
    ]
    fitted, left_out = (
        _tokens(part_inputs, samples, [mask if inside else ~mask for mask in held_out], wide)
        for inside in (False, True)
    )
    stride = max(1, _count(samples) // (CURVATURE * inputs[0].shape[-1]))
    tried = sum_samples(neurons_of(step(initial, fit_reader(sums[1:]), fitted, TRIAL)))
    if not _gains(sums, tried, fit_reader):
        return hidden
    weights, present = initial, fit_reader(sums)
    for _ in range(STEPS):
        new_weights = step(weights, present, [*fitted, *left_out])
        new_hidden = neurons_of(new_weights)
        new_sums = sum_samples(new_hidden)
        new_reader = fit_reader(new_sums)
        if _error(new_sums, new_reader) >= _error(sums, present):
            break
        weights, hidden, sums, present = new_weights, new_hidden, new_sums, new_reader
    for part, values in zip(parts, weights, strict=True):
        part.write(values)
    return hidden


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)


def _tokens(
    part_inputs: Sequence[Tensor],
    samples: Sequence[Samples],
    masks: Sequence[Tensor],
    dtype: torch.dtype,
) -> list[Tokens]:
    """Return the tokens with a weight that the masks select, in chunks of `CHUNK`."""
    found: list[Samples] = []
    for x, (_, target, weights), mask in zip(part_inputs, samples, masks, strict=True):
        real = (weights > 0) & mask.to(weights.device)
        found.append((x[real], target[real].to(dtype), weights[real].to(dtype)))
    joined = [torch.split(torch.cat(each), CHUNK) for each in zip(*found, strict=True)]
    return [Tokens(*each) for each in zip(*joined, strict=True)]


def _usable(parts: Sequence[Sums]) -> bool:
    """Return whether the first two parts have samples, to hold out and to fit to, and nothing has overflowed."""
    finite = all(bool(torch.isfinite(part.xx).all() and torch.isfinite(part.xt).all()) for part in parts)
    return finite and all(float(part.xx[-1, -1]) > 0 for part in parts[:2])


def _gains(before: Sequence[Sums], after: Sequence[Sums], fit: FitReader) -> bool:
    """Return whether the error on the first part falls, of readers that are fitted to the others."""
    errors = [parts[0].error(*fit(parts[1:])) for parts in (before, after)]
    return errors[1] < errors[0]


def _error(parts: Sequence[Sums], reader: tuple[Tensor, Tensor]) -> float:
    return sum(part.error(*reader) for part in parts)
