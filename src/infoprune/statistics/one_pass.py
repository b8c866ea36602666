"""One pass over the inputs, forwards and backwards: what it looks at, and what it adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.processes import total
from infoprune.statistics.answer import Answer, answer_of, remedy
from infoprune.statistics.backpropagate import backpropagate
from infoprune.statistics.calibration import Batch, Progress, key_of, model_inputs, real_tokens
from infoprune.statistics.extras import Extras
from infoprune.statistics.huber import huber_weights
from infoprune.statistics.precision import exact
from infoprune.statistics.sharing import share_importance, share_keys, share_sums
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.statistics.taps import ReaderCall, Tap, tapped
from infoprune.structure.linear import linear
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.offload import present
from infoprune.structure.site import Site

Taps = Mapping[str, Sequence[Tap]]
Squares = Mapping[str, Sequence[Float[Tensor, "..."]]]


@dataclass(frozen=True)
class OnePass:
    """A pass that returns the importance of every token at some sites and fills the statistics of some of these.

    Args:
        model: The model; it comes back as it was.
        sites: Sites whose token importance is returned.
        accumulated: Statistics that are added to, by site name; of other sites only the importance is kept.
        extras: What some criteria ask for besides.
        fisher_samples: Samples per distribution; None means as many as the answer suggests.
        seed: Seed of the samples.
    """

    model: PreTrainedModel
    sites: Sequence[Site]
    accumulated: Mapping[str, SiteStatistics]
    extras: Extras
    fisher_samples: int | None
    seed: int

    def over(self, batches: Sequence[Batch], progress: Progress | None) -> Statistics:
        """Run the pass; in a process group every process has its own batches, and all get the statistics of all."""
        importance: dict[str, list[Tensor]] = {site.name: [] for site in self.sites}
        keys = [key_of(batch) for batch in batches]
        inputs, tokens = 0, 0
        with (
            evaluation_mode(self.model, freeze=True),
            tapped(self.model, self.sites) as taps,
            torch.enable_grad(),
        ):
            for index, (batch, key) in enumerate(zip(batches, keys, strict=True), start=1):
                found, more_inputs, more_tokens = self._batch(batch, key, taps)
                for name, each in found.items():
                    importance[name].append(each)
                inputs, tokens = inputs + more_inputs, tokens + more_tokens
                if progress is not None:
                    progress(index, len(batches))
        inputs, tokens = total(inputs, tokens)
        for statistics in self.accumulated.values():
            share_sums(statistics)
            statistics.fisher.div_(inputs)
            _check_finite(statistics, self.model.dtype)
        kept = share_importance(importance)
        levels = {name: sum(float(w.sum()) for w in each) / max(tokens, 1) for name, each in kept.items()}
        sites = self.extras.added(self.accumulated)
        return Statistics(sites, self.model.config.model_type, inputs, tokens, kept, levels, share_keys(keys))

    def _batch(self, batch: Batch, key: int, taps: Taps) -> tuple[dict[str, Float[Tensor, "_ _"]], int, int]:
        """Return the importance (inputs, tokens) at every site for one batch, its inputs and its real tokens."""
        fed = model_inputs(batch, device_of(self.model))
        decodes = "decoder" if self.model.config.is_encoder_decoder else "layers"
        masks = {name: real_tokens(fed, name) for name in ("layers", decodes)}
        answer = answer_of(self.model, self.model(**fed), masks[decodes])
        # the samples depend on the batch alone: not on its position, on other batches or on the process
        squares = self._backpropagate(answer, torch.Generator().manual_seed(self.seed ^ key), taps)
        del answer  # frees the graph before the next batch builds another
        found, seen = {}, 0
        for site in self.sites:
            mask, importances = masks[site.stack], []
            for call, square in zip(taps[site.name][0].passed, squares[site.name], strict=True):
                real = _real(call.x, mask.to(square.device))
                if site.name in self.accumulated:
                    self._accumulate(self.accumulated[site.name], call, square, real, len(mask))
                importances.append((square * real).float().reshape(len(mask), -1))
                seen = max(seen, int(real.sum())) if real.numel() == len(mask) else int(real.sum())  # one per text
            found[site.name] = torch.stack(importances).sum(0)
            for tap in taps[site.name]:
                tap.passed.clear()
        self.extras.end_batch()
        return found, len(masks[decodes]), seen

    def _accumulate(
        self, statistics: SiteStatistics, call: ReaderCall, square: Tensor, real: Bool[Tensor, ...], inputs: int
    ) -> None:
        """Add the rows of one call of a reader to the moments of its site."""
        self.extras.accumulate_norms(statistics, call.x, real, inputs)
        x, texts = exact(call.x), (inputs, -1)
        weights = huber_weights(x.reshape(*texts, x.shape[-1]), real.reshape(texts))
        weight = weights.reshape(real.shape)[real]
        statistics.tokens.update(x[real], weight)
        statistics.importance.update(x[real], square[real] * weight)

    def _backpropagate(self, answer: Answer, generator: torch.Generator, taps: Taps) -> Squares:
        """Backpropagate every direction to every site, add to the Fisher information, return |g|^2 per token."""
        applied = [
            (name, index, calls)
            for name, each in taps.items()
            for index, calls in enumerate(zip(*(tap.passed for tap in each), strict=True))
        ]
        stream = {site.name: site.readers for site in self.sites if site.streams}
        squares = {name: [torch.zeros_like(exact(p.y[..., 0])) for p in each[0].passed] for name, each in taps.items()}
        outputs = [call.y for _, _, calls in applied for call in calls]
        samples = self.fisher_samples or answer.fisher_samples
        for number, gradients in enumerate(backpropagate(answer, samples, generator, outputs)):
            for name, index, calls in applied:
                arrived = [next(gradients).flatten(0, -2) for _ in calls]
                rows = _at_input(self.model, arrived, stream[name]) if name in stream else arrived[0]
                squares[name][index] += rows.square().sum(-1).reshape(squares[name][index].shape)
                if name in self.accumulated:
                    statistics = self.accumulated[name]
                    statistics.fisher.addmm_(rows.T, rows)
                    self.extras.accumulate_mask_gradients(statistics, number, calls[0].x, rows, len(answer.values))
        return squares


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
            parts.append(gradient @ exact(linear(model, path).weight).to(gradient.device))
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
