"""Demand: the Fisher information of the model's own prediction, written as a few directions to differentiate.

The Fisher information of a distribution p(c | z) about its parameters z is a matrix F(z). If F = sum_k d_k d_k^T, the
gradients g_k of the scalars d_k . z (d_k held constant) with respect to any hidden vector y satisfy sum_k g_k g_k^T =
J^T F J, which is the Fisher information about y. One backward pass per direction therefore brings the signal of the
softmax down to every layer at once.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from infoprune.precision import exact

EXACT_CLASSES = 16


def softmax_factor(logits: Float[Tensor, "*batch k"]) -> Float[Tensor, "directions *batch k"]:
    r"""Exact factor of the softmax Fisher, F = diag(p) - p p^T = L L^T, in k - 1 directions.

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


def softmax_draws(
    logits: Float[Tensor, "*batch k"], draws: int, generator: torch.Generator
) -> Float[Tensor, "directions *batch k"]:
    """Unbiased factor of the softmax Fisher: e_c - p with c drawn from p, divided by the square root of the draws."""
    p = exact(logits).softmax(-1)
    flat = p.reshape(-1, p.shape[-1]).cpu()
    chosen = torch.multinomial(flat, draws, replacement=True, generator=generator).to(p.device)
    hot = torch.nn.functional.one_hot(chosen, p.shape[-1]).to(p.dtype).reshape(*p.shape[:-1], draws, p.shape[-1])
    drawn: Tensor = (hot.movedim(-2, 0) - p) / draws**0.5
    return drawn


def directions(
    logits: Float[Tensor, "*batch k"], draws: int, generator: torch.Generator
) -> Float[Tensor, "directions *batch k"]:
    """Directions whose gradients make up the Fisher information of a softmax over the last axis.

    Exact for at most 16 classes and one softmax per input, drawn from the model's own prediction otherwise.
    """
    if logits.ndim == 2 and logits.shape[-1] <= EXACT_CLASSES:
        return softmax_factor(logits)
    return softmax_draws(logits, draws, generator)
