"""Units: choose neurons and heads; the result is a plan and a smaller dense model."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from infoprune.gradual_pruning import hard_concrete
from infoprune.gradual_pruning.table import TrainedMethod
from infoprune.gradual_pruning.weights import fold, maskable_sites, trainable, unit_weights, weights_of_all
from infoprune.plan import Plan
from infoprune.structure.linear import linear
from infoprune.structure.site import Site
from infoprune.training.trainer import Group

SPREAD = 0.01
"""Standard deviation of the initial locations around 0, as in the source."""


class Units:
    """Choice among the units of a model, which is changed in place: each unit has a factor in its reader.

    Args:
        model: The model in training.
        method: Score of the units, and whether all sites share one ranking.
        seed: Seed of sampled gates.
    """

    def __init__(self, model: PreTrainedModel, method: TrainedMethod, seed: int) -> None:
        self._model, self._method, self._seed = model, method, seed
        self._sites = maskable_sites(model)
        each = [torch.full((site.units,), float(unit_weights(model, site))) for site in self._sites]
        self.weights = torch.cat(each)
        """Number of weights of every unit of every site, one site after the other."""
        self._of_all = float(sum(weights_of_all(model, site) for site in self._sites))
        self._readers = [linear(model, path) for site in self._sites for path in site.readers]
        self._modules = [reader.module for reader in self._readers]
        device = self._modules[0].weight.device
        self.gates = _Gates([site.units for site in self._sites], seed, sampled=method.score == "gates").to(device)
        stored = (
            _Factors(self.gates, index, site.size, linear(model, path).transposed)
            for index, site in enumerate(self._sites)
            for path in site.readers
        )
        for module, factors in zip(self._modules, stored, strict=True):
            parametrize.register_parametrization(module, "weight", factors)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Parameter groups of sampled gates: locations minimise the loss, multipliers maximise it."""
        if self.gates.locations is None or self.gates.multipliers is None:
            return ()
        rate = self._method.rate
        return Group((self.gates.locations,), rate), Group((self.gates.multipliers,), rate, uphill=True)

    def narrow(self, share: float, settled: bool) -> None:
        """Keep the units with the largest scores, as many as fit into a share of the weights.

        While gates are sampled, the share is the target of the penalty, and no unit is removed for good.
        """
        self.gates.share = share
        if not self.gates.sampled:
            self.gates.value.copy_(self._largest(torch.cat([self._norms(site) for site in self._sites]), share))
        elif not settled:
            self.gates.sample()
        elif not self.gates.settled:
            self.gates.settle(self._largest(self.gates.scores, share))

    def penalty(self) -> Tensor | float:
        r"""Return the Lagrangian lambda_1 (s - t) + lambda_2 (s - t)^2 of sampled gates.

        s is the expected share of the weights with open gates, t the share of the schedule.

        Source:
            M. Xia, Z. Zhong, D. Chen, *Structured pruning learns compact and accurate models* (CoFi), ACL 2022, after
            Z. Wang, J. Wohlwend, T. Lei, *Structured pruning of large language models*, EMNLP 2020.
        """
        if self.gates.locations is None or self.gates.multipliers is None or self.gates.settled:
            return 0.0
        weights = self.weights.to(self.gates.locations.device)
        expected = (hard_concrete.open_probability(self.gates.locations) * weights).sum() + self._of_all
        expected = expected / (weights.sum() + self._of_all)
        over = expected - self.gates.share
        return self.gates.multipliers[0] * over + self.gates.multipliers[1] * over.square()

    def finish(self) -> Plan:
        """Multiply the factors into the weights, and return the plan of the units that are not zero."""
        kept = self._by_site(self.gates.value.cpu() > 0)
        fold(self._modules)
        return Plan(
            self._model.config.model_type,
            {site.name: site.units for site in self._sites},
            {site.name: tuple(stays.nonzero()[:, 0].tolist()) for site, stays in zip(self._sites, kept, strict=True)},
            self._method.name,
            self._seed,
        )

    def _by_site(self, units: Shaped[Tensor, " n"]) -> tuple[Shaped[Tensor, " units"], ...]:
        return torch.split(units, [site.units for site in self._sites])

    def _norms(self, site: Site) -> Float[Tensor, " units"]:
        """Return the squared norm of all weights that write or read a unit, whatever its factor."""
        total = torch.zeros(site.units)
        for rows in site.producers:
            written = linear(self._model, rows.module)
            weight = trainable(written.module).detach()
            squares = weight.square().sum(0 if written.transposed else 1).cpu().float()
            owners = rows.owners(site.units)
            total.index_add_(0, owners, squares[: len(owners)])
        for path in site.readers:
            read = linear(self._model, path)
            weight = trainable(read.module).detach()
            squares = weight.square().sum(1 if read.transposed else 0).cpu().float()
            total += squares.reshape(site.units, site.size).sum(1)
        return total

    def _largest(self, scores: Float[Tensor, " n"], share: float) -> Bool[Tensor, " n"]:
        """Choose units by descending score while they fit; a site that needs a unit gets its best one first.

        Without one ranking for all sites, a unit is ranked by the share of its site with larger scores: then all sites
        keep the same share.
        """
        ranks = []
        for site, own in zip(self._sites, self._by_site(scores.cpu()), strict=True):
            order = own.argsort(descending=True, stable=True)
            rank = torch.empty(site.units)
            rank[order] = torch.arange(site.units) / site.units
            score = -own if self._method.together else rank
            score[order[: site.least]] = -torch.inf
            ranks.append(score)
        stays = torch.zeros(len(self.weights), dtype=torch.bool)
        costs, room = self.weights.tolist(), share * (float(self.weights.sum()) + self._of_all) - self._of_all
        for unit in torch.cat(ranks).argsort(stable=True).tolist():
            if costs[unit] <= room:
                stays[unit] = True
                room -= costs[unit]
        return stays.to(scores.device)


class _Gates(nn.Module):
    """Factor for every unit of the model: set, or sampled from locations that are trained."""

    value: Tensor
    noise: Tensor

    def __init__(self, units: list[int], seed: int, *, sampled: bool) -> None:
        super().__init__()
        self.units, self.sampled, self.settled, self.share = units, sampled, False, 1.0
        self._generator = torch.Generator().manual_seed(seed)
        self.register_buffer("value", torch.ones(sum(units)))
        self.register_buffer("noise", torch.full((sum(units),), 0.5))
        start = SPREAD * torch.randn(sum(units), generator=self._generator)
        self.locations = nn.Parameter(start) if sampled else None
        self.multipliers = nn.Parameter(torch.zeros(2)) if sampled else None

    @property
    def scores(self) -> Tensor:
        """Present locations, without a gradient."""
        return self.value if self.locations is None else self.locations.detach()

    def sample(self) -> None:
        """Sample the noise of the next step; all readers of a unit have the same."""
        self.noise.copy_(hard_concrete.sample_noise(len(self.noise), self._generator))

    def settle(self, stays: Bool[Tensor, " n"]) -> None:
        """End the sampling: fix the factors of the units that stay, and set all others to 0."""
        self.value.copy_(hard_concrete.settled(self.scores) * stays)
        self.settled = True

    def forward(self, index: int) -> Float[Tensor, " units"]:
        if self.locations is None or self.settled:
            return torch.split(self.value, self.units)[index]
        location, noise = (torch.split(each, self.units)[index] for each in (self.locations, self.noise))
        return hard_concrete.sample_gates(location, noise)


class _Factors(nn.Module):
    """Parametrization that multiplies the columns of a reader by the factors of its units."""

    def __init__(self, gates: _Gates, index: int, size: int, transposed: bool) -> None:
        super().__init__()
        self.gates, self.index, self.size, self.transposed = gates, index, size, transposed

    def forward(self, weight: Tensor) -> Tensor:
        factors: Tensor = self.gates(self.index).repeat_interleave(self.size).to(weight.dtype)
        return weight * (factors[:, None] if self.transposed else factors)
