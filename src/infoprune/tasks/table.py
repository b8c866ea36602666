"""Tasks: what models are for, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from infoprune.errors import InputError

Truth = Literal["labels", "tags", "targets", "text", "none"]


@dataclass(frozen=True)
class Task:
    """One thing that a model can be for.

    Args:
        name: as in `--task` and report.json.
        auto: the class of transformers that opens such a model.
        endings: how the names of such classes end.
        truth: what a score needs beside the texts: a label for each, tags for its words, a target text, nothing (the
            text is its own answer), or "none" where there is only the comparison of two models.
        served: the command line serves it; everything else is served from Python alone.
        vocabulary: an answer is as large as the vocabulary, and stands at every token.
    """

    name: str
    auto: str
    endings: tuple[str, ...]
    truth: Truth
    served: bool = True
    vocabulary: bool = False


TASKS = (
    Task("classification", "AutoModelForSequenceClassification", ("ForSequenceClassification",), "labels"),
    Task("token-classification", "AutoModelForTokenClassification", ("ForTokenClassification",), "tags"),
    Task("question-answering", "AutoModelForQuestionAnswering", ("ForQuestionAnswering",), "none"),
    Task("causal-lm", "AutoModelForCausalLM", ("ForCausalLM", "LMHeadModel"), "text", vocabulary=True),
    Task("masked-lm", "AutoModelForMaskedLM", ("ForMaskedLM",), "text", vocabulary=True),
    Task(
        "speech-recognition",
        "AutoModelForSpeechSeq2Seq",
        ("WhisperForConditionalGeneration",),
        "none",
        served=False,
        vocabulary=True,
    ),
    Task("seq2seq", "AutoModelForSeq2SeqLM", ("ForConditionalGeneration", "MTModel"), "targets", vocabulary=True),
    Task("image-classification", "AutoModelForImageClassification", ("ForImageClassification",), "none", served=False),
    Task("embedding", "AutoModel", ("Model",), "none"),  # last: other names end so as well
)


def task_of_class(name: str) -> Task | None:
    """The task of a class of transformers; None where its name says nothing that is known.

    Example:
        >>> task_of_class("BertForMaskedLM").name
        'masked-lm'
    """
    return next((task for task in TASKS if name.endswith(task.endings)), None)


def task_of(model: nn.Module) -> str:
    """What a model is for, read from the name of its class.

    Raises:
        InputError: the name says nothing that is known.
    """
    name = type(model).__name__
    task = task_of_class(name)
    if task is None:
        endings = ", ".join(ending for each in TASKS for ending in each.endings)
        raise InputError(f"{name} is for no task that is known; expected a class ending in one of: {endings}")
    return task.name


def task_named(name: str) -> Task:
    """The task of a name that the command line serves.

    Raises:
        InputError: there is none.
    """
    served = {task.name: task for task in TASKS if task.served}
    if name not in served:
        raise InputError(f"task {name!r} is not known, expected one of: {', '.join(served)}; leave --task out")
    return served[name]
