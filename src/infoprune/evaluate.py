"""How good a model's answers are, and how near another model's answers they stay."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sklearn.feature_selection import r_regression
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error
from torch import Tensor, nn

from infoprune.measure import device_of

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each step."""


@dataclass(frozen=True)
class Evaluation:
    """A model's answers to batches of inputs.

    Attributes:
        metrics: Name to value. Classification: ``accuracy`` and ``macro_f1``; regression: ``pearson`` and ``mse``;
            several labels an input: ``micro_f1``. Empty where the batches carry no labels.
        logits: The model's outputs, in the order of the batches, on the CPU.
    """

    metrics: dict[str, float]
    logits: Float[Tensor, "inputs classes"]


def evaluate(model: nn.Module, batches: Sequence[Mapping[str, Tensor]], progress: Progress | None = None) -> Evaluation:
    """Run a model over batches and score its answers against their labels, if they carry any.

    Args:
        model: A model with one answer an input: its output has ``logits`` (inputs, classes). It runs on its own device
            without dropout; its mode is restored afterwards.
        batches: As from ``make_batches``; ``labels`` is not passed to the model.
        progress: Called after each batch.

    Raises:
        ValueError: There are no batches, or the logits have another shape.

    Example:
        >>> evaluate(model, batches).metrics
        {'accuracy': 0.84, 'macro_f1': 0.84}
    """
    if not batches:
        raise ValueError("batches is empty: expected at least one batch; see infoprune.make_batches")
    device = device_of(model)
    training = model.training
    model.eval()
    answers: list[Tensor] = []
    try:
        with torch.inference_mode():
            for done, batch in enumerate(batches, start=1):
                inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
                answers.append(_checked(model(**inputs).logits, model).float().cpu())
                if progress is not None:
                    progress(done, len(batches))
    finally:
        model.train(training)
    logits = torch.cat(answers)
    labels = [batch["labels"] for batch in batches if "labels" in batch]
    return Evaluation(_score(logits, torch.cat(labels)) if len(labels) == len(batches) else {}, logits)


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


def _checked(logits: Tensor, model: nn.Module) -> Tensor:
    if logits.ndim != 2:
        raise ValueError(
            f"{type(model).__name__} gave logits of shape {tuple(logits.shape)}, expected (inputs, classes); "
            f"evaluate a model with one answer an input, such as ...ForSequenceClassification"
        )
    return logits


def _check_pair(dense: Tensor, pruned: Tensor) -> None:
    if dense.shape != pruned.shape or dense.ndim != 2 or dense.shape[0] < 1 or dense.shape[1] < 2:
        raise ValueError(
            f"logits of shapes {tuple(dense.shape)} and {tuple(pruned.shape)}: expected twice the same "
            f"(inputs, classes) with two or more classes; evaluate both models on the same batches"
        )


def _score(logits: Float[Tensor, "inputs classes"], labels: Tensor) -> dict[str, float]:
    truth = labels.cpu().numpy()
    if labels.ndim == 2:
        return {"micro_f1": float(f1_score(truth, (logits > 0).numpy(), average="micro", zero_division=0.0))}
    if logits.shape[1] == 1:
        # r_regression gives 0, not NaN, for constant answers: reports are JSON, which has no NaN.
        return {
            "pearson": float(r_regression(logits.double().numpy(), truth)[0]),
            "mse": float(mean_squared_error(truth, logits[:, 0].numpy())),
        }
    answers = logits.argmax(dim=-1).numpy()
    return {
        "accuracy": float(accuracy_score(truth, answers)),
        "macro_f1": float(f1_score(truth, answers, average="macro", zero_division=0.0)),
    }
