"""Neurons: what writes them is re-fitted to what their reader has to say, by damped Gauss-Newton steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

from infoprune.processes import add_up, total
from infoprune.repair.ridge import Sums
from infoprune.statistics.precision import exact
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.slices import Slice

DAMPING = 0.1
"""A choice from three on validation texts of one model; a third of it, or three times as much, does as well."""

STEPS = 2
ITERATIONS = 8
"""Of conjugate gradients in a step. More of either buy little."""

PER_INPUT = 128
"""Tokens for every input of the parts; with half as many, what is better on held-out texts at every place by itself
makes the whole no better."""

CHUNK = 8192
"""Tokens that are taken together."""

ROUNDING = 1e-2
"""By which what the neurons say may differ in bfloat16 from what an activation makes of it."""

Weights = Float[Tensor, "parts m n"]
"""Of what writes the m neurons of a layer: one part, or a gate and what it gates; a bias is the last column."""
Bend = Callable[[Sequence[Tensor]], Tensor]
"""What neurons say, (tokens, m), given what their parts write, each (tokens, m)."""
FitReader = Callable[[Sequence[Sums]], tuple[Tensor, Tensor]]
"""Weight (o, m) and bias (o,) of the reader from its rows, added up by fold."""
AddUp = Callable[[Sequence[Tensor]], list[Sums]]
"""The rows of the reader by fold, given its inputs, batch by batch."""


@dataclass(frozen=True)
class Part:
    """Rows of a linear module that write something for every neuron, in the order of the neurons."""

    module: LinearMap
    first: int
    last: int

    def read(self) -> Float[Tensor, "m n"]:
        """Weight and, as a last column, bias."""
        weight, bias = self.module.weight[self.first : self.last], self.module.bias
        return weight if bias is None else torch.cat([weight, bias[self.first : self.last, None]], 1)

    def write(self, values: Float[Tensor, "m n"]) -> None:
        """The other way around, in place."""
        weight, bias = self.module.weight[self.first : self.last], self.module.bias
        weight.copy_(values[:, : weight.shape[1]])
        if bias is not None:
            bias[self.first : self.last].copy_(values[:, -1])


@dataclass(frozen=True)
class Tokens:
    """Some of the tokens of a regression: what the neurons' parts read, what the reader should say, and weights."""

    x: Float[Tensor, "t n"]
    target: Float[Tensor, "t o"]
    weights: Float[Tensor, " t"]

    def every(self, stride: int) -> Tokens:
        """Every so many of them."""
        return Tokens(*(each[::stride].contiguous() for each in (self.x, self.target, self.weights)))


def enough_tokens(inputs: Sequence[Tensor], rows: Sequence[tuple[Tensor, Tensor, Tensor]]) -> bool:
    """Whether the tokens of all processes are many beside what each neuron reads."""
    return _count(rows) >= PER_INPUT * inputs[0].shape[-1]


def _count(rows: Sequence[tuple[Tensor, Tensor, Tensor]]) -> int:
    """Tokens of all processes that count."""
    return total(sum(int((weights > 0).sum()) for _, _, weights in rows))[0]


def parts_of(model: nn.Module, producers: Sequence[Slice], units: int) -> tuple[Part, ...]:
    """The parts that write the neurons of a site, in the order of the table."""
    return tuple(
        Part(linear(model, producer.module), units * part, units * (part + 1))
        for producer in producers
        for part in range(len(producer.widths))
    )


def bend_of(config: PretrainedConfig, writes: Sequence[Tensor], neurons: Tensor) -> Bend | None:
    """What a model does between what the parts write and what the reader is given, found by trying.

    Args:
        config: names the activations that come into question.
        writes: of each part, (tokens, m).
        neurons: what came of it, (tokens, m).

    Returns:
        act(a), act(a) b or a act(b); None where it is none of these.
    """
    for name in _activations(config.to_dict()):
        act = cast(Callable[[Tensor], Tensor], ACT2FN[name])
        for bend in _bends(act) if len(writes) == 2 else (lambda each, act=act: act(each[0]),):
            found = bend(writes)
            if float((found - neurons).norm()) <= ROUNDING * float(neurons.norm()):
                return bend
    return None


def _bends(act: Callable[[Tensor], Tensor]) -> Iterator[Bend]:
    yield lambda each: act(each[0]) * each[1]
    yield lambda each: each[0] * act(each[1])


def _activations(fields: Mapping[Any, object]) -> list[str]:
    """All names of activations in a config and in the configs in it."""
    found: dict[str, None] = {}
    for value in fields.values():
        if isinstance(value, str) and value in ACT2FN:
            found[value] = None
        elif isinstance(value, dict):
            found |= dict.fromkeys(_activations(value))
    return list(found)


def refit_neurons(
    model: PreTrainedModel,
    parts: Sequence[Part],
    inputs: Sequence[Tensor],
    rows: Sequence[tuple[Tensor, Tensor, Tensor]],
    held: Sequence[Bool[Tensor, "_ _"]],
    sums: list[Sums],
    add_rows: AddUp,
    fit: FitReader,
) -> tuple[list[Tensor], list[Sums]]:
    r"""Re-fits in place what writes the neurons of a layer, so that their reader can say more of what it should.

    With a the parts' outputs, h = bend(a) the neurons and y_t - r_t what the reader should say at token t,

        min over A, W, b of   sum_t w_t |W bend(A x_t) + b - (y_t - r_t)|^2

    in turn: W and b by ridge regression, A by a Gauss-Newton step at fixed W,

        (J^T J + damping level 1) (A' - A) = J^T (y - r - W h - b) + damping level (A_0 - A),

    solved by conjugate gradients. It is first tried without the texts of the first fold; where these are not said any
    better then, the neurons stay as they are.

    Args:
        model: whose config names the activation.
        parts: that write the neurons.
        inputs: of the parts, batch by batch, (inputs, length, n).
        rows: of the reader, batch by batch: its inputs (inputs, length, m), targets (inputs, length, o) and weights
            (inputs, length).
        held: which tokens are of texts of the first fold.
        sums: the reader's rows as they are, added up by fold.
        add_rows: adds the reader's rows up by fold.
        fit: of the reader.

    Returns:
        The reader's inputs, batch by batch, and its rows by fold.

    Source: layer-wise reconstruction on unlabelled inputs as in OSSCAR (X. Meng et al., ICML 2024) and BRECQ (Y. Li
    et al., ICLR 2021), here by damped least squares (K. Levenberg, 1944; D. Marquardt, 1963).
    """
    wide = torch.promote_types(inputs[0].dtype, torch.float32)
    ones = parts[0].module.bias is not None
    fed = [_with_ones(x.to(wide)) if ones else x.to(wide) for x in inputs]
    begun = torch.stack([part.read() for part in parts]).to(wide)
    bend = bend_of(model.config, _writes(begun, fed[0]), rows[0][0].to(wide))
    hidden = [row[0] for row in rows]
    if bend is None or not all(float(part.xx[-1, -1]) > 0 for part in sums[:2]):  # nothing to hold out, or nothing else
        return hidden, sums

    def said(weights: Weights) -> list[Tensor]:
        return [bend(_writes(weights, x)).to(row[0].dtype) for x, row in zip(fed, rows, strict=True)]

    def step(weights: Weights, reader: tuple[Tensor, Tensor], some: Sequence[Tokens]) -> Weights:
        return gauss_newton(weights, begun, reader, bend, some, DAMPING, inputs[0].shape[-1], stride)

    kept, out = (_tokens(fed, rows, [mask if inside else ~mask for mask in held], wide) for inside in (False, True))
    stride = max(1, _count(rows) // (PER_INPUT * inputs[0].shape[-1]))
    reader = fit(sums[1:])
    tried = add_rows(said(step(begun, reader, kept)))
    if tried[0].error(*fit(tried[1:])) >= sums[0].error(*reader):
        return hidden, sums
    weights, reader = begun, fit(sums)
    for _ in range(STEPS):
        now = step(weights, reader, [*kept, *out])
        neurons = said(now)
        new = add_rows(neurons)
        after = fit(new)
        if _error(new, after) >= _error(sums, reader):
            break
        weights, hidden, sums, reader = now, neurons, new, after
    for part, values in zip(parts, weights, strict=True):
        part.write(values)
    return hidden, sums


def gauss_newton(
    weights: Weights,
    anchor: Weights,
    reader: tuple[Float[Tensor, "o m"], Float[Tensor, " o"]],
    bend: Bend,
    tokens: Sequence[Tokens],
    damping: float,
    inputs: int,
    stride: int = 1,
) -> Weights:
    """What writes the neurons, one damped Gauss-Newton step on, the reader being given.

    Args:
        weights: where the step begins.
        anchor: what the damping pulls toward.
        reader: weight and bias.
        bend: from what the parts write to what the neurons say.
        tokens: of all processes together, in any number of chunks.
        damping: a fraction of the mean of J^T J's diagonal, that of the biases left out.
        inputs: columns of the weights that are no bias.
        stride: J^T J is of every so many tokens alone, times as many; the right-hand side is of all.
    """
    weight, bias = (each.to(weights) for each in reader)
    gram, short = weight.T @ weight, weight.shape[1] < 2 * weight.shape[0]
    some: list[tuple[Tokens, list[Tensor]]] = []
    pull = torch.zeros(weights.shape, dtype=torch.float64, device=weights.device)
    squares, spread = pull.new_zeros(weights.shape[:2]), pull.new_zeros(weights.shape[2], weights.shape[2])
    mass, part_mass = pull.new_zeros(()), pull.new_zeros(())
    for each in tokens:
        hidden, slopes = _slopes(bend, _writes(weights, each.x))
        wanted = (each.target - functional.linear(hidden, weight, bias)) * each.weights[:, None]
        for part, slope in enumerate(slopes):
            pull[part] += exact((wanted @ weight * slope).T @ each.x)
            squares[part] += exact((slope.square() * each.weights[:, None]).sum(0))
        spread += exact((each.x * each.weights[:, None]).T @ each.x)
        mass += exact(each.weights.sum())
        part_mass += exact(each.weights[::stride].sum())
        some.append((each.every(stride), [slope[::stride].contiguous() for slope in slopes]))
    add_up(pull, squares, spread, mass, part_mass)
    lengths, axes = torch.linalg.eigh(spread / mass)
    strength = exact(gram.diagonal()) * squares / mass
    level = damping * float(strength.mean()) * float(spread.diagonal()[:inputs].mean() / mass)
    if level <= 0:
        return weights
    scale = strength[..., None] * lengths.clamp_min(0) + level

    def alike(residual: Tensor) -> Tensor:
        """The inverse of what J^T J would be if neurons and slopes knew nothing of one another."""
        solved: Tensor = (residual @ axes / scale) @ axes.T
        return solved

    def curvature(direction: Tensor) -> Tensor:
        found, narrow = torch.zeros_like(pull), direction.to(weights)
        for each, slopes in some:
            moved = torch.stack([slope * (each.x @ part.T) for slope, part in zip(slopes, narrow, strict=True)]).sum(0)
            moved = (moved @ gram if short else moved @ weight.T @ weight) * each.weights[:, None]
            for part, slope in enumerate(slopes):
                found[part] += exact((moved * slope).T @ each.x)
        add_up(found)
        return found / part_mass + level * direction

    gradient = pull / mass + level * exact(anchor - weights)
    return weights + _conjugate_gradients(curvature, gradient, alike).to(weights)


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor], wanted: Tensor, precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """An approximate solution of apply(x) = wanted, from zero."""
    found, residual = torch.zeros_like(wanted), wanted
    near = precondition(residual)
    direction, size = near, float((residual * near).sum())
    for _ in range(ITERATIONS):
        if size <= 0:
            break
        image = apply(direction)
        stride = size / float((direction * image).sum())
        found, residual = found + stride * direction, residual - stride * image
        near = precondition(residual)
        size, before = float((residual * near).sum()), size
        direction = near + size / before * direction
    return found


def _slopes(bend: Bend, writes: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """What the neurons say, and its derivative by what each part writes; a neuron's depends on its own alone."""
    with torch.enable_grad():
        free = [each.detach().requires_grad_() for each in writes]
        hidden = bend(free)
        slopes = torch.autograd.grad(hidden.sum(), free)
    return hidden.detach(), list(slopes)


def _writes(weights: Weights, x: Tensor) -> list[Tensor]:
    return [functional.linear(x, part) for part in weights]


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)


def _tokens(
    fed: Sequence[Tensor],
    rows: Sequence[tuple[Tensor, Tensor, Tensor]],
    masks: Sequence[Tensor],
    dtype: torch.dtype,
) -> list[Tokens]:
    """Those tokens that count, in chunks of one size."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for x, (_, target, weights), mask in zip(fed, rows, masks, strict=True):
        real = (weights > 0) & mask.to(weights.device)
        found.append((x[real], target[real].to(dtype), weights[real].to(dtype)))
    joined = [torch.split(torch.cat(each), CHUNK) for each in zip(*found, strict=True)]
    return [Tokens(*each) for each in zip(*joined, strict=True)]


def _error(parts: Sequence[Sums], reader: tuple[Tensor, Tensor]) -> float:
    return sum(part.error(*reader) for part in parts)
