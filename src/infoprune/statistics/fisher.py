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

EXACT_CLASSES = 16
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
    logits: Float[Tensor, "*batch k"], fisher_samples: int, generator: torch.Generator
) -> Iterator[Float[Tensor, "*batch k"]]:
    """Yield an unbiased factor of the softmax Fisher: (e_c - p) / sqrt(fisher_samples), with c sampled from p."""
    p = exact(logits).softmax(-1)
    flat = p.reshape(-1, p.shape[-1])
    chosen = torch.multinomial(flat.cpu(), fisher_samples, replacement=True, generator=generator).to(p.device)
    one = torch.ones(len(flat), 1, dtype=p.dtype, device=p.device)
    for sampled in chosen.T:
        yield (-flat).scatter_add_(1, sampled[:, None], one).div_(fisher_samples**0.5).reshape(p.shape)


def sigmoid_factor(logits: Float[Tensor, "*batch k"]) -> Float[Tensor, "k *batch k"]:
    """Return the exact factor of the Fisher of k independent labels, F = diag(p (1 - p)), in k directions."""
    z = exact(logits)
    return torch.diag_embed((z.sigmoid() * (-z).sigmoid()).sqrt()).movedim(-2, 0)


def gaussian_factor(outputs: Float[Tensor, "*batch k"]) -> Float[Tensor, "k *batch k"]:
    """Return the exact factor of the Fisher of a mean with unit variance, F = 1, in k directions."""
    return torch.diag_embed(torch.ones_like(exact(outputs))).movedim(-2, 0)


def direction_count(outputs: Float[Tensor, "*batch k"], fisher_samples: int, law: Law) -> int:
    """Return how many directions `directions` yields; it depends on the shape of the outputs only."""
    if outputs.ndim > 2 or outputs.shape[-1] > EXACT_CLASSES:
        return fisher_samples
    return outputs.shape[-1] - (law == "softmax")


def directions(
    outputs: Float[Tensor, "*batch k"], fisher_samples: int, generator: torch.Generator, law: Law = "softmax"
) -> Iterator[Float[Tensor, "*batch k"]]:
    """Yield directions whose gradients make up the Fisher information of a distribution over the last axis.

    They are exact for at most 16 outputs and one distribution per input. Otherwise they are unbiased: scores of
    outcomes that are sampled from the model's own prediction (softmax, sigmoid), or random projections (gaussian).
    """
    factors = {"softmax": softmax_factor, "sigmoid": sigmoid_factor, "gaussian": gaussian_factor}
    if outputs.ndim == 2 and outputs.shape[-1] <= EXACT_CLASSES:
        yield from factors[law](outputs)
    elif law == "softmax":
        yield from softmax_samples(outputs, fisher_samples, generator)
    else:
        z = exact(outputs)
        for _ in range(fisher_samples):
            if law == "gaussian":
                score = torch.randn(z.shape, dtype=z.dtype, generator=generator).to(z.device)
            else:
                p = z.sigmoid()
                score = (torch.rand(z.shape, dtype=z.dtype, generator=generator).to(z.device) < p).to(z.dtype) - p
            yield score / fisher_samples**0.5
