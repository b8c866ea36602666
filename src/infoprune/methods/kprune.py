"""K-prune: from the bottom to the top, cut and re-fit each site before the units above it are scored anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.budgets.allocate import least_counts
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import Costs
from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.plan import Plan, plan_of
from infoprune.ranking.eliminate import by_score
from infoprune.ranking.rank import Ranking, Rankings
from infoprune.repairing.repair import repair
from infoprune.statistics.answer import Answer, answer_of
from infoprune.statistics.calibration import Batch, Progress, model_inputs, real_tokens
from infoprune.statistics.extras import mask_gradients
from infoprune.statistics.precision import exact
from infoprune.statistics.statistics import Statistics
from infoprune.statistics.taps import Tap, tapped
from infoprune.structure.linear import linear
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

MEMORY = 256 * 2**20
"""Bytes of dense answers that are kept from site to site; the dense model computes the others again."""
RIDGE = 1e-6
"""Ridge of the least squares, for numerical stability alone: the source has none."""


@dataclass(frozen=True)
class KPrune:
    r"""Knowledge score of a unit: of the dense model's answer, and of its reader's output.

        score_i = predictive * 1/2 mean over inputs of (dKL / dm_i)^2 + representational * E[x_i^2] mean_o W_oi^2

    with KL from the dense model's answer to that of the model as it is cut so far, both at a temperature, and m_i a
    factor on coordinate i. The score of a head is `heads` times the mean over its coordinates.

    Args:
        predictive: Weight of the first term.
        representational: Weight of the second term.
        heads: Factor of a head's score over a neuron's.
        temperature: Temperature of both answers.

    Raises:
        InputError: A number is out of range.

    Source:
        S. Park et al., *Accurate retraining-free pruning for pretrained encoder-based language models*, ICLR 2024,
        equations (3) to (7); defaults as in its public script.
    """

    predictive: float = 1.0
    representational: float = 2.5e-4
    heads: float = 64.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        for option in ("predictive", "representational"):
            if not getattr(self, option) >= 0:
                raise InputError(f"{option} is {getattr(self, option)}, expected 0 or more")
        for option in ("heads", "temperature"):
            if not getattr(self, option) > 0:
                raise InputError(f"{option} is {getattr(self, option)}, expected a number above 0")


def prune_knowing(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    statistics: Statistics,
    goal: Keep | Budget,
    costs: Costs | None = None,
    *,
    method: KPrune | None = None,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, Plan]:
    """Prune a model by K-prune: cut one site after the other, and re-fit each by least squares to the dense output.

    The rest of a budget is divided among the site and all sites above it, by score per cost. Then the site is cut to
    its part, and the units above it are scored anew.

    Args:
        model: The dense model.
        batches: Tokenised inputs.
        statistics: Statistics of the model on these batches; only the shapes of its tokens are used.
        goal: The same share of every site, or a budget.
        costs: Costs in the budget's quantity.
        method: Weights of the score.
        progress: Called with (sites done, sites in all).

    Returns:
        The smaller model and its plan.

    Raises:
        InputError: A budget has no costs.
    """
    method = method or KPrune()
    if isinstance(goal, Budget) and costs is None:
        raise InputError(
            f"a budget of {goal.quantity} needs the costs of the model, expected `costs`; pass find_costs(…)"
        )
    names = list(statistics.sites)
    whole = {name: statistics.sites[name].site for name in names}
    current, settled, known = model, dict[str, int](), dict[int, Tensor]()
    for number, name in enumerate(names):
        rankings = rank_by_knowledge(current, model, batches, names[number:], method, known)
        site = whole[name]
        if isinstance(goal, Budget) and costs is not None:
            left = replace(
                costs,
                rest=costs.rest + sum(float(costs.sites[each][count]) for each, count in settled.items()),
                sites={each: costs.sites[each] for each in names[number:]},
            )
            settled[name] = least_counts(rankings, left, goal.limit(costs))[name]
        elif isinstance(goal, Keep):
            settled[name] = goal.count(site)
        kept = tuple(sorted(rankings.sites[name].order[site.units - settled[name] :].tolist()))
        step = Plan(model.config.model_type, {name: site.units}, {name: kept}, "kprune", 0)
        current = repair(
            apply_plan(current, step),
            model,
            batches,
            statistics=statistics,
            smoothing=math.inf,
            ridge=RIDGE,
            producers=False,
            sites=[name],
        )
        if progress is not None:
            progress(number + 1, len(names))
    units = {name: site.units for name, site in whole.items()}
    return current, plan_of(current) or Plan.of_everything(model.config.model_type, units, "kprune", 0)


def rank_by_knowledge(
    model: PreTrainedModel,
    dense: PreTrainedModel,
    batches: Sequence[Batch],
    names: Sequence[str],
    method: KPrune,
    known: dict[int, Tensor] | None = None,
) -> Rankings:
    """Rank the units of some sites by their knowledge score, the lowest first.

    Args:
        model: The model as it is cut so far.
        dense: The model that it was cut from.
        batches: Tokenised inputs.
        names: Names of the sites.
        method: Weights of the score.
        known: Answers of the dense model by the number of the batch. Missing ones are computed, and added while they
            fit into `MEMORY` bytes, which a language model's answers at every token may exceed.
    """
    sites = {site.name: site for site in find_sites(model) if site.name in names}
    readers = {name: exact(linear(model, site.reader).weight) for name, site in sites.items()}
    squares = {name: weight.new_zeros(weight.shape[1]) for name, weight in readers.items()}
    norms = {name: weight.new_zeros(weight.shape[1]) for name, weight in readers.items()}
    inputs = tokens = 0
    with (
        evaluation_mode(dense, freeze=True),
        evaluation_mode(model, freeze=True),
        tapped(model, sites.values()) as lists,
        torch.enable_grad(),
    ):
        taps = {name: tap for name, (tap,) in lists.items()}
        for index, batch in enumerate(batches):
            mean = _known(known if known is not None else {}, index, dense, batch, method.temperature)
            for tap in taps.values():  # where both are one model, they have recorded the dense pass too
                tap.passed.clear()
            answer = _answer(model, batch)
            # the gradient of T^2 KL at temperature T with respect to the numbers
            error = method.temperature * (_means(answer, method.temperature) - mean) * answer.counts[..., None]
            objective = (answer.values * error.to(answer.values.dtype)).sum()
            count = len(answer.values)
            for name, gradients in _gradients(objective, taps).items():
                mask = real_tokens(batch, sites[name].stack).to(readers[name].device)
                rows = torch.zeros(count, readers[name].shape[1], dtype=torch.float64, device=readers[name].device)
                for x, gradient in gradients:
                    rows += mask_gradients(x, gradient, readers[name], count, 1)
                    flat = exact(x).reshape(count, -1, x.shape[-1])
                    norms[name] += (flat.square() * mask.expand(flat.shape[:2])[..., None]).sum((0, 1))
                squares[name] += rows.square().sum(0)
                taps[name].passed.clear()
            inputs, tokens = inputs + count, tokens + int(real_tokens(batch).sum())
    ranked = {}
    for name, site in sites.items():
        knowledge = method.predictive * squares[name] / inputs / 2
        knowledge += method.representational * norms[name] / tokens * readers[name].square().mean(0)
        ranked[name] = _ranking(site, knowledge, method.heads)
    return Rankings(ranked, model.config.model_type, "kprune", 0, nats=False)


def _ranking(site: Site, knowledge: Float[Tensor, " n"], heads: float) -> Ranking:
    scores = knowledge.reshape(-1, site.size).mean(1) * (1.0 if site.structure == "ffn" else heads)
    elimination = by_score(scores.cpu())
    return Ranking(site, elimination.order, elimination.losses)


def _answer(model: PreTrainedModel, batch: Batch) -> Answer:
    fed = model_inputs(batch, device_of(model))
    mask = real_tokens(batch, "decoder" if model.config.is_encoder_decoder else "layers")
    return answer_of(model, model(**fed), mask.to(device_of(model)))


def _means(answer: Answer, temperature: float) -> Tensor:
    values = exact(answer.values)
    if answer.law == "gaussian":
        return values / temperature  # so that the gradient's error is that of the numbers
    return (values / temperature).softmax(-1) if answer.law == "softmax" else (values / temperature).sigmoid()


def _known(known: dict[int, Tensor], index: int, dense: PreTrainedModel, batch: Batch, temperature: float) -> Tensor:
    """Return the means of the dense answer to a batch, and keep them while they fit into `MEMORY` bytes."""
    if index in known:
        return known[index]
    with torch.no_grad():
        mean = _means(_answer(dense, batch), temperature)
    if sum(each.nbytes for each in known.values()) + mean.nbytes <= MEMORY:
        known[index] = mean
    return mean


def _gradients(objective: Tensor, taps: Mapping[str, Tap]) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Return (x, gradient at the reader's output) of every application of every reader."""
    passes = [(name, each) for name, tap in taps.items() for each in tap.passed]
    gradients = torch.autograd.grad(objective, [each.y for _, each in passes])
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in taps}
    for (name, each), gradient in zip(passes, gradients, strict=True):
        found[name].append((each.x, gradient))
    return found
