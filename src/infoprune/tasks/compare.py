"""Compare: how close the outputs of a small model are to those of the dense one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from jaxtyping import Float
from sklearn.feature_selection import r_regression
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import Batch
from infoprune.statistics.micro_batches import inputs_at_once, pieces
from infoprune.statistics.precision import exact
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.plain import check_values
from infoprune.tasks.evaluate import Evaluation, Progress, agreement, check_some, mean_kl
from infoprune.tasks.scoring import Scored, Tally, in_parts, score_batch

NEIGHBOURS = 10
OVERLAP = f"neighbour_overlap@{NEIGHBOURS}"


@dataclass(frozen=True)
class Comparison:
    """Comparison of two models on the same inputs.

    Args:
        dense: Metrics of the reference model.
        small: Metrics of the other model; for embeddings also the share of the 10 nearest neighbours that agree.
        agreement: Share of equal answers; for embeddings the mean cosine; None for numbers.
        kl: Mean KL(dense || small) in nats per answer; None for numbers and embeddings.
        correlation: Pearson correlation of the two models' numbers, the mean over outputs, 0 where one is constant;
            None for all but numbers.
        squared_difference: Mean squared difference of these numbers; None for all but numbers.
    """

    dense: dict[str, float]
    small: dict[str, float]
    agreement: float | None
    kl: float | None
    correlation: float | None = None
    squared_difference: float | None = None

    def metrics(self) -> dict[str, float]:
        """Return all metrics of the small model by name, and those of its likeness to the dense one."""
        near = {
            "agreement" if self.kl is not None else "cosine": self.agreement,
            "kl": self.kl,
            "correlation": self.correlation,
            "squared_difference": self.squared_difference,
        }
        return {**self.small, **{name: value for name, value in near.items() if value is not None}}


def compare(
    dense: nn.Module,
    small: nn.Module,
    batches: Sequence[Batch],
    *,
    translated: Sequence[Batch] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run two models on the same batches and compare their outputs; of outputs at every token only sums are kept.

    Args:
        dense: Reference model.
        small: Other model.
        batches: Tokenised inputs, with labels or without.
        translated: The same inputs for the small model, where its tokenizer differs.
        progress: Called with (batches done, batches in total).

    Returns:
        Metrics of both models, agreement and KL divergence; of numbers their correlation and squared difference.

    Raises:
        ValueError: There are no batches, or the outputs differ in shape.

    Examples:
        >>> compare(model, small, batches)
        Comparison(dense={'accuracy': 0.84, ...}, small={'accuracy': 0.83, ...}, agreement=0.95, kl=0.024)
    """
    check_values(dense, small)
    batches = accept(dense, batches)
    others = None if translated is None else accept(small, translated)
    check_some(batches)
    tallies, near = (Tally(), Tally()), _Nearness()
    with evaluation_mode(dense, small), torch.inference_mode():
        for done, batch in enumerate(batches, start=1):
            # One and the same batch: pictures would be read twice.
            other = accept(small, batch)[0] if others is None else others[done - 1]
            most = min(inputs_at_once(dense, batch), inputs_at_once(small, other))
            for (_, one), (_, same) in zip(pieces(batch, most), pieces(other, most), strict=True):
                pair = score_batch(dense, one), score_batch(small, same)
                for tally, scored in zip(tallies, pair, strict=True):
                    tally.add(scored)
                if not pair[0].whole:
                    near.add(*pair)
            if progress is not None:
                progress(done, len(batches))
    first, second = (Evaluation(tally.metrics(), tally.logits, tally.reading) for tally in tallies)
    if near.rows:
        return Comparison(first.metrics, second.metrics, near.same / near.answers, near.nats / near.rows)
    return between(first, second)


def between(dense: Evaluation, small: Evaluation) -> Comparison:
    """Compare two evaluations on the same inputs, with one answer per input."""
    a, b = dense.logits, small.logits
    if dense.reading == "embedding":
        cosine = float(cosine_similarity(exact(a), exact(b)).mean())
        overlap = {OVERLAP: neighbour_overlap(a, b)} if len(a) > NEIGHBOURS + 1 else {}
        return Comparison(dense.metrics, {**small.metrics, **overlap}, cosine, None)
    if dense.reading == "sigmoid":
        same = float(((a > 0) == (b > 0)).all(-1).double().mean())
        # Each label is a softmax over yes and no, and they are independent.
        pairs = [torch.stack([exact(z) / 2, -exact(z) / 2], -1).flatten(0, 1) for z in (a, b)]
        return Comparison(dense.metrics, small.metrics, same, a.shape[1] * mean_kl(*pairs))
    if dense.reading == "number" or a.shape[-1] < 2:
        return Comparison(dense.metrics, small.metrics, None, None, *_likeness(exact(a), exact(b)))
    return Comparison(dense.metrics, small.metrics, agreement(a, b), mean_kl(a, b))


def _likeness(dense: Float[Tensor, "inputs n"], small: Float[Tensor, "inputs n"]) -> tuple[float, float]:
    """Return the correlation of two models' numbers, the mean over outputs, and their mean squared difference."""
    pairs = zip(dense.T, small.T, strict=True)
    # r_regression gives 0, not NaN, for constant answers: reports are JSON, which has no NaN.
    correlations = [float(r_regression(b[:, None].numpy(), a.numpy())[0]) for a, b in pairs]
    return fmean(correlations), float((dense - small).square().mean())


def neighbour_overlap(
    dense: Float[Tensor, "inputs n"], small: Float[Tensor, "inputs n"], *, neighbours: int = NEIGHBOURS
) -> float:
    """Return the share of each input's nearest neighbours by cosine that agree in both spaces; the mean over inputs.

    Examples:
        >>> neighbour_overlap(dense, dense)
        1.0
    """
    tables = [normalize(exact(table), dim=-1) for table in (dense, small)]
    shared = 0
    for rows in torch.split(torch.arange(len(dense)), 1024):
        near = []
        for table in tables:
            cosines = table[rows] @ table.T
            cosines[torch.arange(len(rows)), rows] = -torch.inf
            near.append(cosines.topk(neighbours).indices)
        shared += int((near[0][:, :, None] == near[1][:, None, :]).sum())
    return shared / (len(dense) * neighbours)


@dataclass
class _Nearness:
    """Sums over outputs that are softmaxes at tokens, or at the start and the end of an answer."""

    same: int = 0
    answers: int = 0
    nats: float = 0.0
    rows: int = 0

    def add(self, dense: Scored, small: Scored) -> None:
        if dense.values.shape != small.values.shape:
            raise ValueError(
                f"answers of shapes {tuple(dense.values.shape)} and {tuple(small.values.shape)}, expected the same; "
                "compare models with the same tokens"
            )
        equal = dense.values.argmax(-1) == small.values.argmax(-1)
        self.same += int(equal.view(-1, dense.parts).all(-1).sum())
        self.answers += len(equal) // dense.parts
        self.rows += len(equal)
        for a, b in zip(in_parts(dense.values), in_parts(small.values), strict=True):
            p, q = exact(a).log_softmax(-1), exact(b).log_softmax(-1)
            self.nats += float(torch.nn.functional.kl_div(q, p, reduction="sum", log_target=True))
