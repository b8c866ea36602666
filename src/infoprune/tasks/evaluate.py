"""Evaluate: metrics of a model's outputs, and their agreement with another model's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infoprune.statistics.accept import accept
from infoprune.statistics.micro_batches import inputs_at_once, pieces
from infoprune.structure.modes import evaluation_mode
from infoprune.structure.plain import check_values
from infoprune.tasks.scoring import Reading, Tally, score_batch

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in total) after each step."""


@dataclass(frozen=True)
class Evaluation:
    """Outputs of a model on batches of inputs, with their metrics.

    Args:
        metrics: Name to value. Classification, also of tokens: ``accuracy`` and ``macro_f1``; regression: ``pearson``
            and ``mse``; several labels per input: ``micro_f1``; language models: ``loss`` in nats per token, with
            ``perplexity``, or ``accuracy`` where tokens were masked. Empty where the correct answers are not known.
        logits: The model's outputs or embeddings, in the order of the batches, on the CPU; empty (0, 0) where the model
            has an output at every token: logits over a vocabulary for each of them would fill the memory.
        reading: Meaning of the numbers.
    """

    metrics: dict[str, float]
    logits: Float[Tensor, "inputs classes"]
    reading: Reading = "softmax"


def evaluate(model: nn.Module, batches: Sequence[Mapping[str, Tensor]], progress: Progress | None = None) -> Evaluation:
    """Run a model over batches and score its outputs against their labels, if there are any.

    Args:
        model: Model of any task that ``answer_of`` supports. It runs on its own device without dropout; its mode is
            restored afterwards.
        batches: Batches as from ``make_batches``; ``labels`` is not passed to the model. Tokens with the label -100 do
            not count.
        progress: Called with (batches done, batches in total).

    Returns:
        The metrics, and the outputs where there is one per input.

    Raises:
        ValueError: There are no batches.

    Examples:
        >>> sorted(evaluate(model, eval_batches).metrics)
        ['accuracy', 'macro_f1']
    """
    check_values(model)
    batches = accept(model, batches)
    check_some(batches)
    tally = Tally()
    with evaluation_mode(model), torch.inference_mode():
        for done, batch in enumerate(batches, start=1):
            for _, piece in pieces(batch, inputs_at_once(model, batch)):
                tally.add(score_batch(model, piece))
            if progress is not None:
                progress(done, len(batches))
    return Evaluation(tally.metrics(), tally.logits, tally.reading)


def check_some(batches: Sequence[Mapping[str, Tensor]]) -> None:
    """Raise ValueError where there are no batches."""
    if not batches:
        raise ValueError("batches is empty: expected at least one batch; see infoprune.make_batches")


def agreement(dense: Tensor, pruned: Tensor) -> float:
    """Return the share of inputs for which two classifiers predict the same class.

    Args:
        dense: Logits (inputs, classes) of one classifier.
        pruned: Logits (inputs, classes) of the other, for the same inputs in the same order.

    Raises:
        ValueError: The shapes differ, or there are fewer than two classes.

    Examples:
        >>> agreement(torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0], [0.0, 1.0]]))
        0.5
    """
    _check_pair(dense, pruned)
    return (dense.argmax(dim=-1) == pruned.argmax(dim=-1)).double().mean().item()


def mean_kl(dense: Tensor, pruned: Tensor) -> float:
    r"""Return the mean KL divergence of a classifier's distributions from another's, in nats per input.

    ``mean over inputs of sum_c p_c (ln p_c - ln q_c)`` with p the softmax of ``dense`` and q that of ``pruned``.

    Args:
        dense: Logits (inputs, classes) of the reference model.
        pruned: Logits (inputs, classes) of the other, for the same inputs in the same order.

    Raises:
        ValueError: The shapes differ, or there are fewer than two classes.

    Examples:
        >>> mean_kl(torch.tensor([[0.0, 1.0]]), torch.tensor([[5.0, 6.0]]))
        0.0
    """
    _check_pair(dense, pruned)
    p, q = dense.double().log_softmax(dim=-1), pruned.double().log_softmax(dim=-1)
    return torch.nn.functional.kl_div(q, p, reduction="batchmean", log_target=True).item()


def _check_pair(dense: Tensor, pruned: Tensor) -> None:
    if dense.shape != pruned.shape or dense.ndim != 2 or dense.shape[0] < 1 or dense.shape[1] < 2:
        raise ValueError(
            f"logits of shapes {tuple(dense.shape)} and {tuple(pruned.shape)}, expected the same shape "
            "(inputs, classes) with two or more classes; evaluate both models on the same batches"
        )
