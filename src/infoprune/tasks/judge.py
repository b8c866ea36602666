"""Judge: which of a model's answers to a batch count, what would be right, and how often it was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from sklearn.feature_selection import r_regression
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error
from torch import Tensor, nn

from infoprune.data.batches import IGNORED
from infoprune.statistics.answer import answer_of
from infoprune.statistics.calibration import Batch, model_inputs, real_tokens
from infoprune.statistics.precision import exact
from infoprune.tasks.table import task_of_class

Reading = Literal["softmax", "sigmoid", "number", "embedding"]
"""How the numbers of an answer are read: one of several, any of several, numbers, or a point on the unit sphere."""


@dataclass(frozen=True)
class Judged:
    """The answers to one batch that count, a row each.

    Args:
        values: the numbers.
        reading: what they mean.
        truth: a class number, a number, or a row for each; None where it is not known.
        whole: every input has one row; otherwise rows belong to tokens, or to the ends of an answer.
        parts: rows that make up one answer: 2 for the start and the end of an answer in a text.
        task: name of the task, "" where the class of the model does not say.
    """

    values: Float[Tensor, "rows k"]
    reading: Reading
    truth: Tensor | None
    whole: bool
    parts: int
    task: str


def judge(model: nn.Module, batch: Batch) -> Judged:
    """Asks a model, and finds in what it says the answers that count.

    Those at padding do not count. Where labels are given for tokens, only the tokens that have one count. The answers
    of a causal language model are about the next token, and the text says which that is.
    """
    parameter = next(model.parameters(), None)
    fed = model_inputs(batch, torch.device("cpu") if parameter is None else parameter.device)
    mask = real_tokens(fed, "decoder" if "decoder_input_ids" in fed else "layers")
    output = model(**fed)
    answer = answer_of(model, output, mask)
    values, counts = answer.values, answer.counts.expand(answer.values.shape[:-1])
    truth = None if "labels" not in batch else batch["labels"].to(values.device)
    task = task_of_class(type(model).__name__)
    whole, parts = values.ndim == 2, 2 if "start_logits" in output else 1
    if task is not None and task.name == "causal-lm":
        values, truth, counts = values[:, :-1], fed["input_ids"][:, 1:], counts[:, 1:] & counts[:, :-1]
    elif truth is not None and not whole and parts == 1:
        counts = counts & (truth != IGNORED)
    if not whole:
        truth = None if truth is None or parts == 2 else truth[counts]
        values = values[counts]
    reading: Reading = "number" if answer.law == "gaussian" else answer.law
    if "last_hidden_state" in output and "logits" not in output:
        reading = "embedding"
    return Judged(values, reading, truth, whole, parts, "" if task is None else task.name)


@dataclass
class Tally:
    """What is remembered of a model's answers: one row for an input that has but one, else one number for each.

    Vocabulary-sized rows are forgotten once they are counted.
    """

    rows: list[Tensor] = field(default_factory=list)
    said: list[Tensor] = field(default_factory=list)
    truth: list[Tensor] = field(default_factory=list)
    nats: float = 0.0
    reading: Reading = "softmax"
    task: str = ""
    complete: bool = True

    def add(self, judged: Judged) -> None:
        """Counts the answers to one more batch."""
        self.reading, self.task = judged.reading, judged.task
        if judged.whole:
            self.rows.append(judged.values.float().cpu())
        if judged.truth is None:
            self.complete = False
            return
        self.truth.append(judged.truth.cpu())
        if not judged.whole:
            self.said.append(judged.values.argmax(-1).cpu())
            for values, truth in zip(in_parts(judged.values), in_parts(judged.truth, judged.values), strict=True):
                wide = exact(values)
                self.nats += float(torch.nn.functional.cross_entropy(wide, truth.to(wide.device), reduction="sum"))

    @property
    def logits(self) -> Float[Tensor, "inputs k"]:
        """The rows of all inputs; none where inputs have more than one."""
        return torch.cat(self.rows) if self.rows else torch.zeros(0, 0)

    def metrics(self) -> dict[str, float]:
        """Scores by name; empty where the truth of some answers is not known."""
        if not self.complete or not self.truth:
            return {}
        truth = torch.cat(self.truth)
        if self.rows:
            return _score(self.logits, truth)
        if not len(truth):
            return {}
        loss, said = self.nats / len(truth), torch.cat(self.said).numpy()
        if self.task in ("causal-lm", "seq2seq"):
            return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # JSON has no infinity
        accuracy = float(accuracy_score(truth.numpy(), said))
        if self.task == "masked-lm":
            return {"loss": loss, "accuracy": accuracy}
        f1 = float(f1_score(truth.numpy(), said, average="macro", zero_division=0.0))
        return {"accuracy": accuracy, "macro_f1": f1}


ROOM = 1 << 22
"""Numbers that are looked at in float64 at one time."""


def in_parts(tensor: Tensor, like: Tensor | None = None) -> tuple[Tensor, ...]:
    """A table in parts of some rows, small enough for float64; a column is parted as the table that it belongs to."""
    width = max(1, (tensor if like is None else like).shape[-1])
    return torch.split(tensor, max(1, ROOM // width))


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
