"""SliceGPT: the residual stream along its principal directions, of which the weakest go."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.rounding import FINEST
from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.methods.finish import finished
from infoprune.methods.table import ROTATED, Finish
from infoprune.plan import WIDTH, Plan
from infoprune.processes import add_up
from infoprune.rotate import fold_norms, rotatable_stream, rotate, set_gains
from infoprune.statistics.calibration import Batch, check_batches, model_inputs, real_tokens
from infoprune.statistics.collect import collect
from infoprune.statistics.precision import exact
from infoprune.structure.sites import find_sites
from infoprune.surgery import prune


def prune_rotated(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    goal: Keep | Budget,
    costs: Costs | None = None,
    *,
    finish: Finish = "cut",
) -> tuple[PreTrainedModel, Plan]:
    """Cuts the weakest principal directions of the residual stream; the layers keep all of their units.

    Args:
        model: a dense decoder with RMSNorm.
        batches: tokenised inputs.
        goal: the share of the directions, or a budget, which they alone have to meet.
        costs: of the model and the budget's quantity, for what the whole of it costs.
        finish: "cut", as published, or "repair": this library's, toward the dense model seen in the same directions.

    Returns:
        The smaller model, and a plan of the one site "width" whose units are the directions, the strongest first.

    Raises:
        InputError: the stream cannot be rotated, a budget has no costs or cannot be met, or there is no such finish.
    """
    if finish not in ("cut", "repair"):
        raise InputError(f"finish is {finish!r}, expected 'cut' or 'repair': no unit of the layers goes by {ROTATED}")
    folded = fold_norms(model)
    turned = rotate(folded, principal_directions(folded, batches))
    (site,) = find_sites(turned, (WIDTH,))
    kept = goal.count(site) if isinstance(goal, Keep) else _widest(turned, batches, goal, costs)
    plan = Plan(model.config.model_type, {WIDTH: site.units}, {WIDTH: tuple(range(kept))}, ROTATED, 0)
    if finish == "repair":
        statistics = collect(turned, batches, sites=[*find_sites(turned), site])
        return finished(turned, plan, statistics, batches, finish), plan
    small = prune(turned, plan)
    # a norm of fewer coordinates divides by the root of their mean, which is to be that of all
    set_gains(small, rotatable_stream(small), math.sqrt(site.units / kept))
    return small, plan


def principal_directions(folded: PreTrainedModel, batches: Sequence[Batch]) -> Float[Tensor, "n n"]:
    r"""Eigenvectors of the second moment of what the readers of the stream are given, the strongest first.

        M = sum over norms and real tokens of  x x^T,    |x|^2 = n

    Args:
        folded: from `fold_norms`.
        batches: tokenised inputs.
    """
    check_batches(batches)
    stream = rotatable_stream(folded)
    moment = torch.zeros(stream.width, stream.width, dtype=torch.float64)
    with _outputs(folded, {place.norm for place in stream.places if place.norm}) as written, torch.no_grad():
        for batch in batches:
            folded(**model_inputs(batch, device_of(folded)))
            for output in written:
                rows = exact(output)[real_tokens(batch).to(output.device)]
                moment += (rows.T @ rows).to(moment.device)
            written.clear()
    add_up(moment)
    vectors: Tensor
    _, vectors = torch.linalg.eigh(moment)
    return vectors.flip(1)


def _widest(turned: PreTrainedModel, batches: Sequence[Batch], goal: Budget, costs: Costs | None) -> int:
    """The most directions that the budget pays for: of what the model costs, not of what it costs once rotated."""
    if costs is None:
        raise InputError(f"a budget of {goal.quantity} needs to know what the model costs; pass find_costs(…)")
    # published sizes are multiples of 8 too, so that they do not depend on the machine
    own = find_costs(turned, goal.quantity, batches, kinds=(WIDTH,), multiple=FINEST)
    limit = goal.limit(costs)
    fitting = [size for size in own.sizes[WIDTH] if own.of({WIDTH: size}) <= limit]
    if not fitting:
        share = math.ceil(1000 * own.least / costs.dense) / 1000
        raise InputError(
            f"budget {goal.quantity}={goal.amount:g} cannot be met by {ROTATED}, which leaves {share:.1%} at least; "
            f"use {goal.quantity}={share:g} or more"
        )
    return max(fitting)


@contextmanager
def _outputs(model: nn.Module, paths: set[str]) -> Iterator[list[Tensor]]:
    """Collects what some modules write, for a while."""
    written: list[Tensor] = []

    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        written.append(output)

    handles = [model.get_submodule(path).register_forward_hook(note) for path in paths]
    try:
        yield written
    finally:
        for handle in handles:
            handle.remove()
