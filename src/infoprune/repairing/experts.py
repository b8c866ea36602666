r"""Re-fit of experts: the answer of each passes through a matrix, or the weights that read its neurons are new.

With a_te the weight with which token t reads expert e, f_e its answer and r the residual,

    min over M   sum_t w_t |sum_e a_te M_e f_e(x_t) + r_t - y_t|^2 + ridge sum_e mean(diag Cov a_e f_e) |M_e - 1|^2

is solved expert by expert, each on the tokens that read it, with what the others leave: an expert takes over what those
that are gone did for these tokens. M_e is multiplied into the weights of the expert, and what lies inside it stays as
it is. Where its neurons were cut, the weights D_e that read the neurons h_e are re-fitted instead: a_te D_e h_e(x_t)
takes the place of a_te M_e f_e(x_t), and the present D_e that of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infoprune.repairing.over_processes import over_processes
from infoprune.repairing.ridge import Samples, Sums, sums_by_part
from infoprune.statistics.expert_neurons import neurons_of_expert
from infoprune.statistics.precision import exact
from infoprune.statistics.products import wide
from infoprune.statistics.record_routes import answer_of_expert, router_logits, routing_at
from infoprune.statistics.routes import routing_weights
from infoprune.structure.experts import expert_reader
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
        site: Site of the experts in it, or of the neurons inside them.
        samples: What the experts read, what they should give in sum, and the weights of tokens, batch by batch.
        outputs: What they give in sum now, (batch, length, n).
        firsts: Number of the first text of every batch, which decides its part.
        fit: Regression of one expert.

    Returns:
        What they give in sum then, batch by batch.
    """
    reads = [_weights(model, site, x) for x, _, _ in samples]
    given = [wide(y).clone() for y in outputs]
    before = [_map_of(model, site, expert, outputs[0]) for expert in range(_count(site))]
    maps = [exact(each.weight) for each in before]
    for expert in [*range(len(maps))] * SWEEPS:
        says = [
            _said(model, site, x, weights[..., expert], expert)
            for (x, _, _), weights in zip(samples, reads, strict=True)
        ]
        left = _left(samples, given, [weights[..., expert] > 0 for weights in reads], says, maps[expert])
        parts = over_processes(sums_by_part(left, firsts, maps[expert]))
        read = any(float(part.xx[-1, -1]) > 0 for part in parts)
        new = fit(before[expert], parts)[0] if read else maps[expert]
        for y, weights, said in zip(given, reads, says, strict=True):
            y[weights[..., expert] > 0] += said @ (new - maps[expert]).T.to(said)
        maps[expert] = new
    _write(model, site, maps)
    return [y.to(each.dtype) for y, each in zip(given, outputs, strict=True)]


def _count(site: Site) -> int:
    return site.units if site.neurons is None else site.neurons.experts


def _map_of(model: nn.Module, site: Site, expert: int, like: Float[Tensor, "batch length n"]) -> LinearMap:
    """Return the map that is re-fitted: the identity, or the one that reads the neurons of the expert."""
    weight = torch.eye(like.shape[-1]) if site.neurons is None else expert_reader(model, site, expert)
    outputs, inputs = weight.shape
    module = nn.Linear(inputs, outputs, bias=False, device=like.device, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(weight)
    return LinearMap(module)


def _write(model: nn.Module, site: Site, maps: Sequence[Float[Tensor, "n m"]]) -> None:
    """Write the maps of all experts into their weights."""
    if site.neurons is not None:
        for expert, new in enumerate(maps):
            expert_reader(model, site, expert).copy_(new)
        return
    for name, axis in routing_at(site).outputs:
        for expert, entry in enumerate(model.get_parameter(name).detach()):
            entry.copy_(torch.tensordot(maps[expert], exact(entry), ([1], [axis])).movedim(0, axis))


def _left(
    samples: Sequence[Samples],
    given: Sequence[Tensor],
    reads: Sequence[Tensor],
    says: Sequence[Tensor],
    present: Float[Tensor, "n m"],
) -> Iterator[Samples]:
    """Yield the regression of one expert, batch by batch: what the others leave to it of the tokens that read it."""
    for (_, target, weight), y, mask, said in zip(samples, given, reads, says, strict=True):
        own, rest = y.new_zeros(*y.shape[:-1], said.shape[-1]), target - y
        own[mask] = said
        rest[mask] += (said @ present.T.to(said)).to(rest)
        yield own, rest, weight * mask


def _weights(model: nn.Module, site: Site, x: Float[Tensor, "batch length n"]) -> Float[Tensor, "batch length experts"]:
    """Return the weights with which tokens read the experts."""
    logits = router_logits(model, site, x.flatten(0, -2))
    stays = torch.ones_like(logits[0], dtype=torch.bool)
    return routing_weights(logits, routing_at(site), stays).reshape(*x.shape[:-1], -1)


def _said(
    model: nn.Module,
    site: Site,
    x: Float[Tensor, "batch length n"],
    weights: Float[Tensor, "batch length"],
    expert: int,
) -> Float[Tensor, "t m"]:
    """Return the answers, or the neurons, of an expert for the tokens that read it, times their weights."""
    reads = weights > 0
    say = answer_of_expert if site.neurons is None else neurons_of_expert
    return wide(say(model, site, x[reads], expert)) * weights[reads][:, None].to(x.device)
