"""How good a model's answers are, and how near another model's answers they stay."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infoprune.tasks.judge import Reading, Tally, judge

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each step."""


@dataclass(frozen=True)
class Evaluation:
    """A model's answers to batches of inputs.

    Attributes:
        metrics: Name to value. Classification: ``accuracy`` and ``macro_f1``, for tokens too; regression: ``pearson``
            and ``mse``; several labels an input: ``micro_f1``; language models: ``loss`` in nats a token, with
            ``perplexity``, or ``accuracy`` where tokens were masked. Empty where the right answers are not known.
        logits: The model's outputs or embeddings, in the order of the batches, on the CPU; empty (0, 0) where it says
            something at every token: a vocabulary for each of them would fill the memory.
        reading: What the numbers are.
    """

    metrics: dict[str, float]
    logits: Float[Tensor, "inputs classes"]
    reading: Reading = "softmax"


def evaluate(model: nn.Module, batches: Sequence[Mapping[str, Tensor]], progress: Progress | None = None) -> Evaluation:
    """Run a model over batches and score its answers against their labels, if they carry any.

    Args:
        model: Of any task that ``answer_of`` can read. It runs on its own device without dropout; its mode is restored
            afterwards.
        batches: As from ``make_batches``; ``labels`` is not passed to the model. The tokens that are labelled -100 do
            not count.
        progress: Called after each batch.

    Raises:
        ValueError: There are no batches.

    Example:
        >>> evaluate(model, batches).metrics
        {'accuracy': 0.84, 'macro_f1': 0.84}
    """
    check_some(batches)
    tally = Tally()
    with answering(model):
        for done, batch in enumerate(batches, start=1):
            tally.add(judge(model, batch))
            if progress is not None:
                progress(done, len(batches))
    return Evaluation(tally.metrics(), tally.logits, tally.reading)


def check_some(batches: Sequence[Mapping[str, Tensor]]) -> None:
    """Raises ValueError where there are no batches."""
    if not batches:
        raise ValueError("batches is empty: expected at least one batch; see infoprune.make_batches")


@contextmanager
def answering(*models: nn.Module) -> Iterator[None]:
    """Within the block models are in evaluation mode and keep no gradients."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for model, training in zip(models, modes, strict=True):
            model.train(training)


def agreement(dense: Tensor, pruned: Tensor) -> float:
    """Return the share of inputs to which two classifiers give the same answer.

    Args:
        dense: Logits (inputs, classes) of one.
        pruned: Logits (inputs, classes) of the other, for the same inputs in the same order.

    Raises:
        ValueError: The shapes differ, or there are fewer than two classes.

    Example:
        >>> agreement(torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0], [0.0, 1.0]]))
        0.5
    """
    _check_pair(dense, pruned)
    return (dense.argmax(dim=-1) == pruned.argmax(dim=-1)).double().mean().item()


def mean_kl(dense: Tensor, pruned: Tensor) -> float:
    r"""Return how far a classifier's distributions are from another's, in nats an input.

    ``mean over inputs of sum_c p_c (ln p_c - ln q_c)`` with p the softmax of ``dense`` and q that of ``pruned``.

    Args:
        dense: Logits (inputs, classes) of the model that counts as right.
        pruned: Logits (inputs, classes) of the other, for the same inputs in the same order.

    Raises:
        ValueError: The shapes differ, or there are fewer than two classes.

    Example:
        >>> mean_kl(torch.tensor([[0.0, 1.0]]), torch.tensor([[5.0, 6.0]]))
        0.0
    """
    _check_pair(dense, pruned)
    p, q = dense.double().log_softmax(dim=-1), pruned.double().log_softmax(dim=-1)
    return torch.nn.functional.kl_div(q, p, reduction="batchmean", log_target=True).item()


def _check_pair(dense: Tensor, pruned: Tensor) -> None:
    if dense.shape != pruned.shape or dense.ndim != 2 or dense.shape[0] < 1 or dense.shape[1] < 2:
        raise ValueError(
            f"logits of shapes {tuple(dense.shape)} and {tuple(pruned.shape)}: expected twice the same "
            f"(inputs, classes) with two or more classes; evaluate both models on the same batches"
        )
