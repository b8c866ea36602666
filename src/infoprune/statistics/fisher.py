"""Fisher: the output Fisher information of the model's own prediction, as a few directions to differentiate.

The Fisher information of a distribution p(c | z) about its parameters z is a matrix F(z). If F = sum_k d_k d_k^T, the
gradients g_k of the scalars d_k . z (d_k held constant) with respect to any hidden vector y satisfy sum_k g_k g_k^T =
J^T F J, which is the Fisher information about y. One backward pass per direction therefore carries the Fisher
information of the softmax to every layer at once.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.statistics.precision import exact
from infoprune.statistics.random_numbers import RandomNumbers

EXACT_CLASSES = 16
ROOM = 1 << 22
"""Numbers that are in float64 at once where rows are as long as a vocabulary."""
Law = Literal["softmax", "sigmoid", "gaussian"]


def softmax_factor(logits: Float[Tensor, "*batch k"]) -> Float[Tensor, "directions *batch k"]:
    r"""Return the exact factor of the softmax Fisher, F = diag(p) - p p^T = L L^T, in k - 1 directions.

    With classes in order and s_j = p_j + ... + p_k, column j of L is

        L_jj = sqrt(p_j s_{j+1} / s_j),    L_ij = -p_i sqrt(p_j / (s_j s_{j+1}))  for i > j.

    Two classes need one backward pass, k classes k - 1.

    Source:
        K. Tanabe and M. Sagae, *An exact Cholesky decomposition and the generalized inverse of the variance-covariance
        matrix of the multinomial distribution*, J. R. Stat. Soc. B 54 (1992), 211-219.
    """
    p = exact(logits).softmax(-1)
    tail = p.flip(-1).cumsum(-1).flip(-1)  # s_j
    tiny = torch.finfo(torch.float64).tiny
    columns = []
    for j in range(p.shape[-1] - 1):
        pj, here, after = p[..., j], tail[..., j], tail[..., j + 1]
        column = torch.zeros_like(p)
        column[..., j] = (pj * after / here.clamp_min(tiny)).sqrt()
        # sqrt(pj / (here * after)) * p_i, written with p_i / after <= 1 so that nothing overflows
        column[..., j + 1 :] = -(p[..., j + 1 :] / after.clamp_min(tiny)[..., None]) * column[..., j, None]
        columns.append(column)
    return torch.stack(columns)


def softmax_samples(
    logits: Float[Tensor, "*batch k"], fisher_samples: int, numbers: RandomNumbers
) -> Iterator[Float[Tensor, "*batch k"]]:
    """Yield an unbiased factor of the softmax Fisher: (e_c - p) / sqrt(fisher_samples), with c sampled from p.

    Classes are sampled by the inverse of their distribution function, a few rows at a time: rows over a vocabulary
    fill the memory once, in the precision of the logits (in float32 for float16, which has no room for small numbers).
    """
    flat = logits.detach().reshape(-1, logits.shape[-1])
    uniform = numbers.uniform((*logits.shape[:-1], fisher_samples)).reshape(-1, fisher_samples)
    factor = torch.empty_like(flat, dtype=torch.float32 if flat.dtype == torch.float16 else flat.dtype)
    chosen = torch.empty(len(flat), fisher_samples, dtype=torch.long)
    rows = max(1, ROOM // flat.shape[1])
    for start in range(0, len(flat), rows):
        some = slice(start, start + rows)
        p = exact(flat[some]).softmax(-1)
        below = p.cumsum(-1)
        found = torch.searchsorted(below, uniform[some].to(p.device) * below[:, -1:], right=True)
        chosen[some] = found.clamp_max_(p.shape[-1] - 1)
        factor[some] = p.div_(-(fisher_samples**0.5)).to(factor)
    for number, sampled in enumerate(chosen.to(factor.device).T, start=1):
        found = factor if number == fisher_samples else factor.clone()
        one = found.new_full((len(found), 1), fisher_samples**-0.5)
        yield found.scatter_add_(1, sampled[:, None], one).reshape(logits.shape)


def sigmoid_factor(logits: Float[Tensor, "*batch k"]) -> Float[Tensor, "k *batch k"]:
    """Return the exact factor of the Fisher of k independent labels, F = diag(p (1 - p)), in k directions."""
    z = exact(logits)
    return torch.diag_embed((z.sigmoid() * (-z).sigmoid()).sqrt()).movedim(-2, 0)


def gaussian_factor(outputs: Float[Tensor, "*batch k"]) -> Float[Tensor, "k *batch k"]:
    """Return the exact factor of the Fisher of a mean with unit variance, F = 1, in k directions."""
    return torch.diag_embed(torch.ones_like(exact(outputs))).movedim(-2, 0)


def _mixed(
    factor: Float[Tensor, "directions inputs k"], fisher_samples: int, numbers: RandomNumbers
) -> Float[Tensor, "samples inputs k"]:
    """Return mixtures of the directions with random signs, whose products are those of the directions on average."""
    count, inputs, _ = factor.shape
    signs = (numbers.uniform((inputs, fisher_samples, count)) - 0.5).sign().to(factor)
    mixed: Tensor = torch.einsum("isd,dik->sik", signs, factor) / fisher_samples**0.5
    return mixed


def direction_count(outputs: Float[Tensor, "*batch k"], fisher_samples: int, law: Law) -> int:
    """Return how many directions `directions` yields; it depends on the shape of the outputs only."""
    if outputs.ndim > 2 or outputs.shape[-1] > EXACT_CLASSES:
        return fisher_samples
    return min(fisher_samples, outputs.shape[-1] - (law == "softmax"))


def directions(
    outputs: Float[Tensor, "*batch k"], fisher_samples: int, numbers: RandomNumbers, law: Law = "softmax"
) -> Iterator[Float[Tensor, "*batch k"]]:
    """Yield directions whose gradients make up the Fisher information of a distribution over the last axis.

    With one distribution per input and at most 16 outputs they are exact where there are no more of them than
    `fisher_samples`, and that many mixtures of them with random signs where there are. Otherwise they are scores of
    outcomes that are sampled from the model's own prediction (softmax, sigmoid), or random projections (gaussian). All
    are unbiased.

    Source:
        M. F. Hutchinson, *A stochastic estimator of the trace of the influence matrix*, 1989, for the random signs.
    """
    factors = {"softmax": softmax_factor, "sigmoid": sigmoid_factor, "gaussian": gaussian_factor}
    if outputs.ndim == 2 and outputs.shape[-1] <= EXACT_CLASSES:
        factor = factors[law](outputs)
        yield from factor if len(factor) <= fisher_samples else _mixed(factor, fisher_samples, numbers)
    elif law == "softmax":
        yield from softmax_samples(outputs, fisher_samples, numbers)
    else:
        z = exact(outputs)
        shape = len(z), fisher_samples, *z.shape[1:]
        random = (numbers.normal(shape) if law == "gaussian" else numbers.uniform(shape)).to(z.device)
        for each in random.unbind(1):
            score = each if law == "gaussian" else (each < z.sigmoid()).to(z.dtype) - z.sigmoid()
            yield score / fisher_samples**0.5
