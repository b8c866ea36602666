"""Scoring: which of a model's outputs for a batch count, the correct answers, and the metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from sklearn.feature_selection import r_regression
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.data.batches import IGNORED
from infoprune.statistics.answer import PROJECTED, answer_of
from infoprune.statistics.calibration import Batch, model_inputs, real_tokens
from infoprune.statistics.precision import exact
from infoprune.tasks.table import Task, task_of_class

Reading = Literal["softmax", "sigmoid", "number", "embedding"]
"""Meaning of an output's numbers: one of several classes, any of several, numbers, or a point on the unit sphere."""


@dataclass(frozen=True)
class Scored:
    """Outputs for one batch that count, one row each.

    Args:
        values: The numbers.
        reading: Meaning of the numbers.
        truth: Correct answer for each row: a class number, a number, or a row; None where it is not known.
        whole: Whether every input has one row; otherwise rows belong to tokens, or to the ends of an answer.
        parts: Rows per answer: 2 for the start and the end of an answer in a text.
        task: Name of the task; "" where the class of the model is not known.
    """

    values: Float[Tensor, "rows k"]
    reading: Reading
    truth: Tensor | None
    whole: bool
    parts: int
    task: str


def score_batch(model: nn.Module, batch: Batch) -> Scored:
    """Run a model on a batch and select the outputs that count.

    Outputs at padding do not count. Where tokens have labels, only the labelled tokens count. A causal language model
    predicts the next token, so the text itself holds the correct answers.
    """
    parameter = next(model.parameters(), None)
    fed = model_inputs(batch, torch.device("cpu") if parameter is None else parameter.device)
    mask = real_tokens(batch, "decoder" if "decoder_input_ids" in fed else "layers")
    mask = mask.to(next(iter(fed.values())).device)
    output = model(**fed)
    answer = answer_of(model, output, mask)
    values, counts = answer.values, answer.counts.expand(answer.values.shape[:-1])
    truth = None if "labels" not in batch else batch["labels"].to(values.device)
    task = _task(model)
    whole, parts = values.ndim == 2, 2 if "start_logits" in output else 1
    if task is not None and task.name == "ctc":
        truth = None  # a transcript has no token for every frame
    if task is not None and task.name in ("causal-lm", "image-text-to-text"):
        values, truth, counts = values[:, :-1], fed["input_ids"][:, 1:], counts[:, 1:] & counts[:, :-1]
    elif truth is not None and not whole and parts == 1:
        counts = counts & (truth != IGNORED)
    if not whole:
        truth = None if truth is None or parts == 2 else truth[counts]
        values = values[counts]
    reading: Reading = "number" if answer.law == "gaussian" else answer.law
    if "logits" not in output and not output.keys().isdisjoint({"last_hidden_state", *PROJECTED}):
        reading = "embedding"
    return Scored(values, reading, truth, whole, parts, "" if task is None else task.name)


def _task(model: nn.Module) -> Task | None:
    """Return the task of a model by the name of its class; of a graph, by the class that its config names."""
    config = getattr(model, "config", None)
    names = () if isinstance(model, PreTrainedModel) else getattr(config, "architectures", None)
    return task_of_class(names[0] if names else type(model).__name__)


@dataclass
class Tally:
    """Accumulated outputs of a model: the rows where inputs have one each, otherwise the predicted classes.

    Rows over a vocabulary are not kept.
    """

    rows: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    truth: list[Tensor] = field(default_factory=list)
    nats: float = 0.0
    reading: Reading = "softmax"
    task: str = ""
    complete: bool = True

    def add(self, scored: Scored) -> None:
        """Accumulate the outputs for one more batch."""
        self.reading, self.task = scored.reading, scored.task
        if scored.whole:
            self.rows.append(scored.values.float().cpu())
        if scored.truth is None:
            self.complete = False
            return
        self.truth.append(scored.truth.cpu())
        if not scored.whole:
            self.predicted.append(scored.values.argmax(-1).cpu())
            for values, truth in zip(in_parts(scored.values), in_parts(scored.truth, scored.values), strict=True):
                logits = exact(values)
                self.nats += float(torch.nn.functional.cross_entropy(logits, truth.to(logits.device), reduction="sum"))

    @property
    def logits(self) -> Float[Tensor, "inputs k"]:
        """Rows of all inputs; none where inputs have more than one."""
        return torch.cat(self.rows) if self.rows else torch.zeros(0, 0)

    def metrics(self) -> dict[str, float]:
        """Return metrics by name; empty where some correct answers are not known."""
        if not self.complete or not self.truth:
            return {}
        truth = torch.cat(self.truth)
        if self.rows:
            return _score(self.logits, truth)
        if not len(truth):
            return {}
        loss, predicted = self.nats / len(truth), torch.cat(self.predicted).numpy()
        if self.task in ("causal-lm", "seq2seq", "speech-recognition", "image-text-to-text"):
            return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # JSON has no infinity
        accuracy = float(accuracy_score(truth.numpy(), predicted))
        if self.task == "masked-lm":
            return {"loss": loss, "accuracy": accuracy}
        f1 = float(f1_score(truth.numpy(), predicted, average="macro", zero_division=0.0))
        return {"accuracy": accuracy, "macro_f1": f1}


ROOM = 1 << 22
"""Numbers processed in float64 at once."""


def in_parts(tensor: Tensor, like: Tensor | None = None) -> tuple[Tensor, ...]:
    """Split a table by rows into parts that fit into memory in float64; a column is split like its table."""
    classes = max(1, (tensor if like is None else like).shape[-1])
    return torch.split(tensor, max(1, ROOM // classes))


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
