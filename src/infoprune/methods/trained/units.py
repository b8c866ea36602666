"""Units: chooses neurons and heads; what is left is a plan, and a smaller dense model."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from infoprune.methods.trained import hard_concrete
from infoprune.methods.trained.table import TrainedMethod
from infoprune.methods.trained.weights import fold, trainable, unit_weights
from infoprune.plan import Plan
from infoprune.structure.linear import linear
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites
from infoprune.training.trainer import Group

SPREAD = 0.01
"""Standard deviation of the locations at the beginning, about 0; as in the source."""


class Units:
    """Chooses among the units of a model, which is changed in place: each has a factor in the matrix that reads it.

    Args:
        model: in training.
        method: by what, and whether in one ranking.
        seed: of gates that are drawn.
    """

    def __init__(self, model: PreTrainedModel, method: TrainedMethod, seed: int) -> None:
        self._model, self._method, self._seed = model, method, seed
        self._sites = find_sites(model)
        each = [torch.full((site.units,), float(unit_weights(model, site))) for site in self._sites]
        self.weights = torch.cat(each)
        """How many weights go with every unit of every site, one site after the other."""
        self._readers = [linear(model, path) for site in self._sites for path in site.readers]
        self._modules = [reader.module for reader in self._readers]
        device = self._modules[0].weight.device
        self.gates = _Gates([site.units for site in self._sites], seed, drawn=method.score == "gates").to(device)
        stored = (
            _Factors(self.gates, index, site.size, linear(model, path).transposed)
            for index, site in enumerate(self._sites)
            for path in site.readers
        )
        for module, factors in zip(self._modules, stored, strict=True):
            parametrize.register_parametrization(module, "weight", factors)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Locations go downhill, multipliers uphill, where gates are drawn."""
        if self.gates.locations is None or self.gates.multipliers is None:
            return ()
        rate = self._method.rate
        return Group((self.gates.locations,), rate), Group((self.gates.multipliers,), rate, uphill=True)

    def narrow(self, share: float, settled: bool) -> None:
        """Lets the units with the largest scores stay, so many that they have that share of the weights.

        While gates are drawn the share is what they are drawn to, and nothing is gone for good.
        """
        self.gates.share = share
        if not self.gates.drawn:
            self.gates.value.copy_(self._largest(torch.cat([self._norms(site) for site in self._sites]), share))
        elif not settled:
            self.gates.draw()
        elif not self.gates.settled:
            self.gates.settle(self._largest(self.gates.places, share))

    def penalty(self) -> Tensor | float:
        r"""The Lagrangian lambda_1 (s - t) + lambda_2 (s - t)^2, of gates that are drawn.

        s is the share of the weights that is expected to be open, t what the schedule says.

        Source:
            M. Xia, Z. Zhong, D. Chen, *Structured pruning learns compact and accurate models* (CoFi), ACL 2022, after
            Z. Wang, J. Wohlwend, T. Lei, *Structured pruning of large language models*, EMNLP 2020.
        """
        if self.gates.locations is None or self.gates.multipliers is None or self.gates.settled:
            return 0.0
        weights = self.weights.to(self.gates.locations.device)
        expected = (hard_concrete.open_probability(self.gates.locations) * weights).sum() / weights.sum()
        over = expected - self.gates.share
        return self.gates.multipliers[0] * over + self.gates.multipliers[1] * over.square()

    def finish(self) -> Plan:
        """Leaves the factors in the weights, and says which units are not zero."""
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
        """Squared norm of all weights that write or read a unit, whatever its factor."""
        total = torch.zeros(site.units)
        for rows in site.producers:
            written = linear(self._model, rows.module)
            weight = trainable(written.module).detach()
            squares = weight.square().sum(0 if written.transposed else 1).cpu().float()
            total.index_add_(0, rows.owners(site.units), squares)
        for path in site.readers:
            read = linear(self._model, path)
            weight = trainable(read.module).detach()
            squares = weight.square().sum(1 if read.transposed else 0).cpu().float()
            total += squares.reshape(site.units, site.size).sum(1)
        return total

    def _largest(self, scores: Float[Tensor, " n"], share: float) -> Bool[Tensor, " n"]:
        """Takes units by falling score while there is room; a site that cannot do without has its best one first.

        Without one ranking for all, a unit's score is the share of its site that is larger: every site then has its
        best one, and keeps as large a share as all others.
        """
        ranks = []
        for site, own in zip(self._sites, self._by_site(scores.cpu()), strict=True):
            order = own.argsort(descending=True, stable=True)
            place = torch.empty(site.units)
            place[order] = torch.arange(site.units) / site.units
            score = -own if self._method.together else place
            score[order[: site.least]] = -torch.inf
            ranks.append(score)
        stays = torch.zeros(len(self.weights), dtype=torch.bool)
        costs, room = self.weights.tolist(), share * float(self.weights.sum())
        for unit in torch.cat(ranks).argsort(stable=True).tolist():
            if costs[unit] <= room:
                stays[unit] = True
                room -= costs[unit]
        return stays.to(scores.device)


class _Gates(nn.Module):
    """A factor for every unit of the model: as it was set, or drawn from locations that are trained."""

    value: Tensor
    noise: Tensor

    def __init__(self, units: list[int], seed: int, *, drawn: bool) -> None:
        super().__init__()
        self.units, self.drawn, self.settled, self.share = units, drawn, False, 1.0
        self._generator = torch.Generator().manual_seed(seed)
        self.register_buffer("value", torch.ones(sum(units)))
        self.register_buffer("noise", torch.full((sum(units),), 0.5))
        start = SPREAD * torch.randn(sum(units), generator=self._generator)
        self.locations = nn.Parameter(start) if drawn else None
        self.multipliers = nn.Parameter(torch.zeros(2)) if drawn else None

    @property
    def places(self) -> Tensor:
        """The locations as numbers."""
        return self.value if self.locations is None else self.locations.detach()

    def draw(self) -> None:
        """Draws for the next step; all that read a unit in it see the same."""
        self.noise.copy_(hard_concrete.draw_noise(len(self.noise), self._generator))

    def settle(self, stays: Bool[Tensor, " n"]) -> None:
        """Ends the drawing: some units stay, and their factors too."""
        self.value.copy_(hard_concrete.settled(self.places) * stays)
        self.settled = True

    def forward(self, index: int) -> Float[Tensor, " units"]:
        if self.locations is None or self.settled:
            return torch.split(self.value, self.units)[index]
        location, noise = (torch.split(each, self.units)[index] for each in (self.locations, self.noise))
        return hard_concrete.sample(location, noise)


class _Factors(nn.Module):
    """Multiplies the columns of a reader with the factors of its units."""

    def __init__(self, gates: _Gates, index: int, size: int, transposed: bool) -> None:
        super().__init__()
        self.gates, self.index, self.size, self.transposed = gates, index, size, transposed

    def forward(self, weight: Tensor) -> Tensor:
        factors: Tensor = self.gates(self.index).repeat_interleave(self.size).to(weight.dtype)
        return weight * (factors[:, None] if self.transposed else factors)
