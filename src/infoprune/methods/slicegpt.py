"""SliceGPT: rotate the residual stream to its principal directions and remove the weakest ones."""

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
from infoprune.methods.rotate import fold_norms, rotatable_stream, rotate, set_gains
from infoprune.methods.table import ROTATED, Finish
from infoprune.plan import HIDDEN_SIZE, Plan
from infoprune.processes import add_up
from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import Batch, check_batches, model_inputs, real_tokens
from infoprune.statistics.collect import collect
from infoprune.statistics.precision import exact
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan


def prune_rotated(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    goal: Keep | Budget,
    costs: Costs | None = None,
    *,
    finish: Finish = "cut",
) -> tuple[PreTrainedModel, Plan]:
    """Remove the weakest principal directions of the residual stream; the layers keep all of their units.

    Args:
        model: A dense decoder with RMSNorm.
        batches: Tokenised inputs.
        goal: The share of the directions, or a budget, which the directions alone have to meet.
        costs: Costs of the model in the budget's quantity, for the cost of the whole model.
        finish: "cut", as published, or "repair": this library's repair toward the dense model in the same basis.

    Returns:
        The smaller model, and a plan with the one site "hidden-size" whose units are the directions, the strongest
        first.

    Raises:
        InputError: The stream cannot be rotated, a budget has no costs or cannot be met, or the finish is not known.
    """
    if finish not in ("cut", "repair"):
        raise InputError(f"finish is {finish!r}, expected 'cut' or 'repair': {ROTATED} removes no units of the layers")
    folded = fold_norms(model)
    turned = rotate(folded, principal_directions(folded, batches))
    (site,) = find_sites(turned, (HIDDEN_SIZE,))
    kept = goal.count(site) if isinstance(goal, Keep) else _widest(turned, batches, goal, costs)
    plan = Plan(model.config.model_type, {HIDDEN_SIZE: site.units}, {HIDDEN_SIZE: tuple(range(kept))}, ROTATED, 0)
    if finish == "repair":
        statistics = collect(turned, batches, sites=[*find_sites(turned), site])
        return finished(turned, plan, statistics, batches, finish), plan
    small = apply_plan(turned, plan)
    # a norm of fewer coordinates divides by the root of their mean square; the gain makes it that of all
    set_gains(small, rotatable_stream(small), math.sqrt(site.units / kept))
    return small, plan


def principal_directions(folded: PreTrainedModel, batches: Sequence[Batch]) -> Float[Tensor, "n n"]:
    r"""Return the eigenvectors of the second moment of the stream readers' inputs, the strongest first.

        M = sum over norms and real tokens of  x x^T,    |x|^2 = n

    Args:
        folded: A model from `fold_norms`.
        batches: Tokenised inputs.
    """
    batches = accept(folded, batches)
    check_batches(batches)
    stream = rotatable_stream(folded)
    moment = torch.zeros(stream.hidden_size, stream.hidden_size, dtype=torch.float64)
    with _outputs(folded, {point.norm for point in stream.read_points if point.norm}) as written, torch.no_grad():
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
    """Return the largest number of directions within a budget, which is a share of the unrotated model's cost."""
    if costs is None:
        raise InputError(
            f"a budget of {goal.quantity} needs the costs of the model, expected `costs`; pass find_costs(…)"
        )
    # multiples of 8, as published, so that the sizes do not depend on the machine
    own = find_costs(turned, goal.quantity, batches, structures=(HIDDEN_SIZE,), multiple=FINEST)
    limit = goal.limit(costs)
    fitting = [size for size in own.sizes[HIDDEN_SIZE] if own.of({HIDDEN_SIZE: size}) <= limit]
    if not fitting:
        share = math.ceil(1000 * own.least / costs.dense) / 1000
        raise InputError(
            f"budget {goal.quantity}={goal.amount:g} cannot be met by {ROTATED}, which leaves {share:.1%} at least; "
            f"pass `budget={goal.quantity}={share:g}` or more"
        )
    return max(fitting)


@contextmanager
def _outputs(model: nn.Module, paths: set[str]) -> Iterator[list[Tensor]]:
    """Append the outputs of some modules to a list within the block."""
    written: list[Tensor] = []

    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        written.append(output)

    handles = [model.get_submodule(path).register_forward_hook(note) for path in paths]
    try:
        yield written
    finally:
        for handle in handles:
            handle.remove()
