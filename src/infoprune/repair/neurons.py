"""Neurons: what writes them is re-fitted to what their reader has to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.processes import total
from infoprune.repair.bend import bend_of
from infoprune.repair.gauss_newton import Tokens, Weights, gauss_newton, written
from infoprune.repair.ridge import Sums
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.slices import Slice

DAMPING = 0.1
"""A choice from three on validation texts of one model; a third of it, or three times as much, does as well."""

STEPS = 2
"""A third buys little."""

PER_INPUT = 128
"""Tokens for every input of the parts; with fewer it is left out unless asked for, and with more J^T J is of so many.
It may pay with fewer (docs/neurons.md), but classifiers gained little for twice the time."""

CHUNK = 8192
"""Tokens that are taken together."""

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

    solved by conjugate gradients. It is first tried without the texts of the first fold; unless these gain then, and at
    least half as much as the others, the neurons stay as they are.

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
    bend = bend_of(model.config, written(begun, fed[0]), rows[0][0].to(wide))
    hidden = [row[0] for row in rows]
    if bend is None or not _usable(sums):
        return hidden, sums

    def said(weights: Weights) -> list[Tensor]:
        return [bend(written(weights, x)).to(row[0].dtype) for x, row in zip(fed, rows, strict=True)]

    def step(weights: Weights, reader: tuple[Tensor, Tensor], some: Sequence[Tokens]) -> Weights:
        return gauss_newton(weights, begun, reader, bend, some, DAMPING, inputs[0].shape[-1], stride)

    kept, out = (_tokens(fed, rows, [mask if inside else ~mask for mask in held], wide) for inside in (False, True))
    stride = max(1, _count(rows) // (PER_INPUT * inputs[0].shape[-1]))
    reader = fit(sums[1:])
    if not _pays(_errors(sums, fit), _errors(add_rows(said(step(begun, reader, kept))), fit)):
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


def _usable(parts: Sequence[Sums]) -> bool:
    """Whether there is something to hold out, something else to learn from, and no overflow."""
    finite = all(bool(torch.isfinite(part.xx).all() and torch.isfinite(part.xt).all()) for part in parts)
    return finite and all(float(part.xx[-1, -1]) > 0 for part in parts[:2])


def _errors(parts: Sequence[Sums], fit: FitReader) -> tuple[float, float]:
    """Mean error on the first fold, and on the others, which the reader is fitted to."""
    reader = fit(parts[1:])
    masses = float(parts[0].xx[-1, -1]), sum(float(part.xx[-1, -1]) for part in parts[1:])
    return parts[0].error(*reader) / masses[0], _error(parts[1:], reader) / masses[1]


def _pays(before: tuple[float, float], after: tuple[float, float]) -> bool:
    """Whether texts that are held out gain from a step, and at least half as much as those that it was fitted to."""
    held, own = (one - other for one, other in zip(before, after, strict=True))
    return held > 0 and held >= own / 2


def _error(parts: Sequence[Sums], reader: tuple[Tensor, Tensor]) -> float:
    return sum(part.error(*reader) for part in parts)
