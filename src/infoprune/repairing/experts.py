r"""Re-fit of experts: the answer of each passes through a matrix, which is multiplied into its weights.

With a_te the weight with which token t reads expert e, f_e its answer and r the residual,

    min over M   sum_t w_t |sum_e a_te M_e f_e(x_t) + r_t - y_t|^2 + ridge sum_e mean(diag Cov a_e f_e) |M_e - 1|^2

is solved expert by expert, each on the tokens that read it, with what the others leave: an expert takes over what those
that are gone did for these tokens. What lies inside the experts stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infoprune.repairing.over_processes import over_processes
from infoprune.repairing.ridge import Samples, Sums, sums_by_part
from infoprune.statistics.precision import exact
from infoprune.statistics.products import wide
from infoprune.statistics.record_routes import answer_of_expert, router_logits, routing_at
from infoprune.statistics.routes import routing_weights
from infoprune.structure.linear import LinearMap
from infoprune.structure.site import Site

SWEEPS = 2
"""How often every expert is re-fitted."""

FitMap = Callable[[LinearMap, Sequence[Sums]], tuple[Tensor, Tensor]]
"""New weight and bias of a linear map, from the map toward which it shrinks, and the sums of its regression by part."""


def refit_experts(
    model: nn.Module,
    site: Site,
    samples: Sequence[Samples],
    outputs: Sequence[Tensor],
    firsts: Sequence[int],
    fit: FitMap,
) -> list[Tensor]:
    """Re-fit the experts of a site in place.

    Args:
        model: The pruned model.
        site: Site of the experts in it.
        samples: What the experts read, what they should give in sum, and the weights of tokens, batch by batch.
        outputs: What they give in sum now, (batch, length, n).
        firsts: Number of the first text of every batch, which decides its part.
        fit: Regression of one expert.

    Returns:
        What they give in sum then, batch by batch.
    """
    reads = [_weights(model, site, x) for x, _, _ in samples]
    given = [wide(y).clone() for y in outputs]
    identity = _identity(outputs[0])
    maps = [exact(identity.weight) for _ in range(site.units)]
    for expert in [*range(site.units)] * SWEEPS:
        answers = [
            _answers(model, site, x, weights[..., expert], expert)
            for (x, _, _), weights in zip(samples, reads, strict=True)
        ]
        left = _left(samples, given, [weights[..., expert] > 0 for weights in reads], answers, maps[expert])
        parts = over_processes(sums_by_part(left, firsts, maps[expert]))
        read = any(float(part.xx[-1, -1]) > 0 for part in parts)
        new = fit(identity, parts)[0] if read else exact(identity.weight)
        for y, weights, answer in zip(given, reads, answers, strict=True):
            y[weights[..., expert] > 0] += answer @ (new - maps[expert]).T.to(answer)
        maps[expert] = new
    for name, axis in routing_at(site).outputs:
        for expert, entry in enumerate(model.get_parameter(name).detach()):
            entry.copy_(torch.tensordot(maps[expert], exact(entry), ([1], [axis])).movedim(0, axis))
    return [y.to(before.dtype) for y, before in zip(given, outputs, strict=True)]


def _left(
    samples: Sequence[Samples],
    given: Sequence[Tensor],
    reads: Sequence[Tensor],
    answers: Sequence[Tensor],
    present: Float[Tensor, "n n"],
) -> Iterator[Samples]:
    """Yield the regression of one expert, batch by batch: what the others leave to it of the tokens that read it."""
    for (_, target, weight), y, mask, answer in zip(samples, given, reads, answers, strict=True):
        own, rest = torch.zeros_like(y), target - y
        own[mask] = answer
        rest[mask] += (answer @ present.T.to(answer)).to(rest)
        yield own, rest, weight * mask


def _weights(model: nn.Module, site: Site, x: Float[Tensor, "batch length n"]) -> Float[Tensor, "batch length experts"]:
    """Return the weights with which tokens read the experts."""
    logits = router_logits(model, site, x.flatten(0, -2))
    stays = torch.ones_like(logits[0], dtype=torch.bool)
    return routing_weights(logits, routing_at(site), stays).reshape(*x.shape[:-1], -1)


def _answers(
    model: nn.Module,
    site: Site,
    x: Float[Tensor, "batch length n"],
    weights: Float[Tensor, "batch length"],
    expert: int,
) -> Float[Tensor, "t n"]:
    """Return the weighted answers of an expert to the tokens that read it."""
    reads = weights > 0
    return wide(answer_of_expert(model, site, x[reads], expert)) * weights[reads][:, None].to(x.device)


def _identity(like: Float[Tensor, "batch length n"]) -> LinearMap:
    module = nn.Linear(like.shape[-1], like.shape[-1], bias=False, device=like.device, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.eye(like.shape[-1]))
    return LinearMap(module)
