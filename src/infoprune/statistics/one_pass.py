"""One pass over a segment of the layers, forwards and backwards: what it looks at, and what it adds up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.processes import add_up, total
from infoprune.statistics.answer import answer_of, remedy
from infoprune.statistics.backpropagate import backpropagate, scale_of
from infoprune.statistics.calibration import Progress, model_inputs, real_tokens
from infoprune.statistics.expert_neurons import reading_tokens, weighted_neurons
from infoprune.statistics.extras import Extras
from infoprune.statistics.gradients import Gradients
from infoprune.statistics.huber import huber_weights
from infoprune.statistics.micro_batches import MicroBatch
from infoprune.statistics.precision import exact
from infoprune.statistics.products import add_products, mirrored, wide
from infoprune.statistics.random_numbers import RandomNumbers
from infoprune.statistics.record_routes import RouteRecorder
from infoprune.statistics.segments import Segment
from infoprune.statistics.sharing import share_importance, share_keys, share_sums
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.statistics.taps import ReaderCall, Tap, tapped
from infoprune.structure.linear import linear
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.offload import present
from infoprune.structure.replay import LayerRun, Replay
from infoprune.structure.site import Site

Taps = Mapping[str, Sequence[Tap]]
Squares = Mapping[str, Sequence[Float[Tensor, "..."]]]


@dataclass(frozen=True)
class OnePass:
    """A pass that returns the importance of every token at the sites of a segment and fills their statistics.

    Args:
        model: The model; it comes back as it was.
        segment: Layers that are run, and the sites whose token importance is returned.
        accumulated: Statistics that are added to, by site name; of other sites only the importance is kept.
        extras: What some criteria ask for besides.
        fisher_samples: Samples per distribution; None means as many as the answer suggests.
        seed: Seed of the samples.
        replay: Passes of the model that leave out the layers below the segment.
        gradients: Gradients at the outputs of calls that the segments above have left, which are passed on.
        tokens: Number of real tokens, where a segment above has counted them: those at the topmost site.
    """

    model: PreTrainedModel
    segment: Segment
    accumulated: Mapping[str, SiteStatistics]
    extras: Extras
    fisher_samples: int | None
    seed: int
    replay: Replay
    gradients: Gradients
    tokens: int | None = None

    def over(self, parts: Sequence[MicroBatch], progress: Progress | None) -> Statistics:
        """Run the pass; in a process group every process has its own inputs, and all get the statistics of all."""
        sites = self.segment.sites
        importance: dict[str, dict[int, list[Tensor]]] = {site.name: {} for site in sites if not site.expert}
        keys = {part.batch: part.key for part in parts}
        tokens, routes = 0, RouteRecorder()
        fisher = {site.name: self._no_fisher(site) for site in sites if self._keeps_fisher(site)}
        with evaluation_mode(self.model, freeze=True), tapped(self.model, sites) as taps, torch.enable_grad():
            for index, part in enumerate(parts):
                found, more_tokens = self._part(index, part, taps, routes, fisher)
                for name, each in found.items():
                    importance[name].setdefault(part.batch, []).append(each)
                tokens += more_tokens
                if progress is not None:
                    progress(index + 1, len(parts))
        inputs, tokens = total(sum(part.count for part in parts), tokens)
        tokens = tokens if self.tokens is None else self.tokens
        for statistics in self.accumulated.values():
            share_sums(statistics)
            statistics.fisher.copy_(mirrored(statistics.fisher / inputs))
            _check_finite(statistics, self.model.dtype)
        add_up(*fisher.values())
        fisher = {name: mirrored(each / inputs).float() for name, each in fisher.items()}
        batches = {name: [torch.cat(each) for each in of.values()] for name, of in importance.items()}
        kept = share_importance(batches)
        # all experts of a layer are read by the same tokens' sum, so they have one importance
        kept |= {site.name: kept[f"{site.name.rpartition('.')[0]}.0"] for site in sites if site.expert}
        levels = {name: sum(float(w.sum()) for w in each) / max(tokens, 1) for name, each in kept.items()}
        sites_found = routes.added(self.extras.added(self.accumulated), inputs)
        model_type = self.model.config.model_type
        return Statistics(
            sites_found, model_type, inputs, tokens, kept, levels, share_keys(list(keys.values())), fisher
        )

    def _keeps_fisher(self, site: Site) -> bool:
        """Return whether the Fisher information at a site is kept without its other statistics."""
        return site.structure == "ffn" and site.name not in self.accumulated

    def _no_fisher(self, site: Site) -> Float[Tensor, "o o"]:
        with present(self.model, site.reader):
            weight = linear(self.model, site.reader).weight
            return torch.zeros(len(weight), len(weight), dtype=torch.float64, device=weight.device)

    def _part(
        self, index: int, part: MicroBatch, taps: Taps, routes: RouteRecorder, fisher: Mapping[str, Tensor]
    ) -> tuple[dict[str, Float[Tensor, "_ _"]], int]:
        """Return the importance (inputs, tokens) at every site for one micro-batch, and its real tokens."""
        fed = model_inputs(part.inputs, device_of(self.model))
        decodes = "decoder" if self.model.config.is_encoder_decoder else "layers"
        stacks = {decodes, *(site.stack for site in self.segment.sites)}
        masks = {name: real_tokens(part.inputs, name).to(device_of(self.model)) for name in stacks}
        run = LayerRun(self.segment.first, self.segment.stop, index)
        output = self.replay.run(run, fed)
        applied = [
            (name, number, calls)
            for name, each in taps.items()
            for number, calls in enumerate(zip(*(tap.passed for tap in each), strict=True))
        ]
        arriving = [*(call.y for _, _, calls in applied for call in calls), *run.entered.values()]
        if output is None:
            gradients = self.gradients.passed_on(index, run, arriving)
        else:
            answer = answer_of(self.model, output, masks[decodes])
            del output
            samples = self.fisher_samples or answer.fisher_samples
            # the samples depend on the batch alone: not on its position, on other batches or on the process
            gradients = backpropagate(answer, samples, RandomNumbers(self.seed ^ part.key, part.first), arriving)
            del answer  # frees the graph before the next one builds another
        squares, kept = self._gather(index, part, run, taps, applied, gradients, fisher)
        found, seen = {}, 0
        for site in self.segment.sites:
            mask, importances = masks[site.stack], []
            for number, (call, square) in enumerate(zip(taps[site.name][0].passed, squares[site.name], strict=True)):
                real = _real(call.x, mask.to(square.device))
                if site.expert is not None and site.name in self.accumulated:
                    self._accumulate_expert(self.accumulated[site.name], call, square, real, len(mask))
                elif site.routing is not None and site.name in self.accumulated:
                    x = call.x.flatten(0, -2)
                    routes.add(self.model, site, x, kept[site.name, number], real.flatten())
                elif site.name in self.accumulated:
                    self._accumulate(self.accumulated[site.name], call, square, real, len(mask))
                importances.append((square * real).float().reshape(len(mask), -1))
                seen = max(seen, int(real.sum())) if real.numel() == len(mask) else int(real.sum())  # one per text
            if not site.expert:
                found[site.name] = torch.stack(importances).sum(0)
            for tap in taps[site.name]:
                tap.passed.clear()
        self.extras.end_batch()
        return found, seen

    def _accumulate(
        self, statistics: SiteStatistics, call: ReaderCall, square: Tensor, real: Bool[Tensor, ...], inputs: int
    ) -> None:
        """Add the rows of one call of a reader to the moments of its site."""
        self.extras.accumulate_norms(statistics, call.x, real, inputs)
        x, texts = wide(call.x), (inputs, -1)
        weights = huber_weights(x.reshape(*texts, x.shape[-1]), real.reshape(texts))
        weight, x, square = weights.reshape(real.shape)[real], x[real], square[real]
        statistics.tokens.update(x, weight)
        statistics.importance.update(x, square * weight)

    def _accumulate_expert(
        self, statistics: SiteStatistics, call: ReaderCall, square: Tensor, real: Bool[Tensor, ...], inputs: int
    ) -> None:
        """Add the neurons of one expert, times the weights of the tokens that read it, to the moments of its site."""
        tokens, x = weighted_neurons(self.model, statistics.site, call)
        counted = real.flatten()[tokens]
        tokens, x = tokens[counted], x[counted]
        there, lengths = torch.zeros_like(real.flatten()), square.new_zeros(real.numel())
        there[tokens], lengths[tokens] = True, torch.linalg.vector_norm(x, dim=-1).to(square)
        weights = huber_weights(lengths.reshape(inputs, -1, 1), there.reshape(inputs, -1)).flatten()[tokens]
        statistics.tokens.update(x, weights)
        statistics.importance.update(x, square.flatten()[tokens] * weights)

    def _gather(
        self,
        index: int,
        part: MicroBatch,
        run: LayerRun,
        taps: Taps,
        applied: Sequence[tuple[str, int, tuple[ReaderCall, ...]]],
        directions: Iterator[tuple[Tensor | None, ...]],
        fisher: Mapping[str, Tensor],
    ) -> tuple[Squares, dict[tuple[str, int], list[Tensor]]]:
        """Add the gradients of every direction to the Fisher information.

        Returns:
            The sum of |g|^2 per token, and the gradients at experts, by name and application of a site.
        """
        kept: dict[tuple[str, int], list[Tensor]] = {}
        stream = {site.name: site.readers for site in self.segment.sites if site.streams}
        squares = {name: [torch.zeros_like(exact(p.y[..., 0])) for p in each[0].passed] for name, each in taps.items()}
        for number, found in enumerate(directions):
            gradients = iter(found)
            for name, application, calls in applied:
                arrived = [_rows(next(gradients), call.y) for call in calls]
                rows = _at_input(self.model, arrived, stream[name]) if name in stream else arrived[0]
                lengths = torch.linalg.vector_norm(rows, dim=-1).to(squares[name][application])
                squares[name][application] += lengths.square().reshape(squares[name][application].shape)
                if name in fisher:
                    add_products(fisher[name], rows)
                if name not in self.accumulated:
                    continue
                statistics = self.accumulated[name]
                if statistics.site.expert is not None:
                    add_products(statistics.fisher, rows[reading_tokens(statistics.site, calls[0])[0]])
                elif statistics.site.routing is not None:
                    kept.setdefault((name, application), []).append(rows)
                else:
                    add_products(statistics.fisher, rows)
                    self.extras.accumulate_mask_gradients(statistics, number, calls[0].x, rows, part.count)
            self.gradients.add(index, number, dict(zip(run.entered, gradients, strict=True)))
        return squares, kept


def _rows(gradient: Tensor | None, y: Tensor) -> Float[Tensor, "t o"]:
    """Return the gradient at a reader's output in rows; zeros where the answer does not depend on it."""
    rows = wide(torch.zeros_like(y) if gradient is None else gradient).flatten(0, -2)
    return rows if scale_of(y.dtype) == 1 else rows / scale_of(y.dtype)


def _real(x: Float[Tensor, "... n"], mask: Bool[Tensor, "batch length"]) -> Bool[Tensor, ...]:
    """Return which rows of an activation are not padding."""
    if x.ndim > mask.ndim:
        return mask.expand(x.shape[:-1])
    if len(x) == mask.numel():  # a family that joins all tokens of a batch into one axis
        return mask.flatten()
    return torch.ones_like(x[..., 0], dtype=torch.bool)


def _at_input(model: nn.Module, arrived: Sequence[Float[Tensor, "t _"]], paths: Sequence[str]) -> Float[Tensor, "t n"]:
    """Return the gradient at the common input of several modules, through these alone: the sum of g W."""
    parts = []
    for gradient, path in zip(arrived, paths, strict=True):
        with present(model, path):
            parts.append(gradient @ linear(model, path).weight.to(gradient))
    return torch.stack(parts).sum(0)


def _check_finite(statistics: SiteStatistics, dtype: torch.dtype) -> None:
    finite: Bool[Tensor, ""] = (
        torch.isfinite(statistics.tokens.triangle).all() & torch.isfinite(statistics.fisher).all()
    )
    if not finite:
        raise InputError(
            f"activations at {statistics.site.reader} are not finite, expected finite numbers; "
            f"{remedy(dtype)}, and check the inputs"
        )
