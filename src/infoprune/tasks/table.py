"""Tasks: the supported tasks of models, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from infoprune.errors import InputError

Truth = Literal["labels", "tags", "targets", "text", "none"]
Reads = Literal["texts", "pictures", "clips"]


@dataclass(frozen=True)
class Task:
    """Task of a model.

    Args:
        name: Name in `--task` and report.json.
        auto: Class of transformers that loads such a model.
        endings: Endings of the names of such model classes.
        truth: What scoring needs besides the inputs: "labels" (one for each), "tags" (one per word), "targets" (a
            target text), "text" (the text itself, or what is said in a clip), or "none" where two models can only be
            compared.
        served: Whether the command line supports it; otherwise only Python does.
        vocabulary: Whether the model outputs logits over the vocabulary at every token.
        reads: What the inputs are made of: texts, pictures, or clips of speech.
    """

    name: str
    auto: str
    endings: tuple[str, ...]
    truth: Truth
    served: bool = True
    vocabulary: bool = False
    reads: Reads = "texts"


PICTURE_MODELS = (
    "ViTModel",
    "DeiTModel",
    "Dinov2Model",
    "Dinov2WithRegistersModel",
    "DINOv3ViTModel",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
    "SiglipVisionModel",
)
"""Classes without a head that read pictures alone."""

TASKS = (
    Task(
        "audio-classification",
        "AutoModelForAudioClassification",
        tuple(f"{name}ForSequenceClassification" for name in ("Wav2Vec2", "Hubert", "WavLM")),
        "labels",
        reads="clips",
    ),
    Task("ctc", "AutoModelForCTC", ("ForCTC",), "text", reads="clips"),
    Task("audio-embedding", "AutoModel", ("Wav2Vec2Model", "HubertModel", "WavLMModel"), "none", reads="clips"),
    Task(
        "image-text-to-text",
        "AutoModelForImageTextToText",
        ("SmolVLMForConditionalGeneration", "Idefics3ForConditionalGeneration"),
        "text",
        served=False,
        vocabulary=True,
    ),
    Task("classification", "AutoModelForSequenceClassification", ("ForSequenceClassification",), "labels"),
    Task("token-classification", "AutoModelForTokenClassification", ("ForTokenClassification",), "tags"),
    Task("question-answering", "AutoModelForQuestionAnswering", ("ForQuestionAnswering",), "none"),
    Task("causal-lm", "AutoModelForCausalLM", ("ForCausalLM", "LMHeadModel"), "text", vocabulary=True),
    Task("masked-lm", "AutoModelForMaskedLM", ("ForMaskedLM",), "text", vocabulary=True),
    Task(
        "speech-recognition",
        "AutoModelForSpeechSeq2Seq",
        ("WhisperForConditionalGeneration",),
        "text",
        vocabulary=True,
        reads="clips",
    ),
    Task("seq2seq", "AutoModelForSeq2SeqLM", ("ForConditionalGeneration", "MTModel"), "targets", vocabulary=True),
    Task(
        "image-classification",
        "AutoModelForImageClassification",
        ("ForImageClassification",),
        "labels",
        reads="pictures",
    ),
    Task("image-embedding", "AutoModel", PICTURE_MODELS, "none", reads="pictures"),
    Task("embedding", "AutoModel", ("Model", "ModelWithProjection"), "none"),  # last: other names end so as well
)


def task_of_class(name: str) -> Task | None:
    """Return the task of a class of transformers; None where its name has no known ending.

    Examples:
        >>> task_of_class("BertForMaskedLM").name
        'masked-lm'
    """
    return next((task for task in TASKS if name.endswith(task.endings)), None)


def reads_of(name: str) -> Reads:
    """Return what the models of a task read; texts where the name is of none.

    Examples:
        >>> reads_of("image-classification")
        'pictures'
    """
    return next((task.reads for task in TASKS if task.name == name), "texts")


def task_of(model: nn.Module) -> str:
    """Return the name of a model's task, by the name of its class.

    Raises:
        InputError: The name has no known ending.
    """
    name = type(model).__name__
    task = task_of_class(name)
    if task is None:
        endings = ", ".join(ending for each in TASKS for ending in each.endings)
        raise InputError(
            f"{name} is for no task that is known, expected a class name ending in one of: {endings}; load the model "
            "with the class of its task"
        )
    return task.name


def check_distillable(task: str, option: str = "distill") -> None:
    """Raise InputError where a task has no distillation: the loss compares one stack of layers, not two.

    Args:
        task: Name of the task.
        option: Option that asks for a distillation.
    """
    if task in ("seq2seq", "speech-recognition"):
        raise InputError(f"encoder-decoders cannot be distilled, expected another task; leave `{option}` out")


def task_named(name: str) -> Task:
    """Return the task with a name that the command line supports.

    Raises:
        InputError: There is none.
    """
    served = {task.name: task for task in TASKS if task.served}
    if name not in served:
        raise InputError(f"`task` is {name!r}, expected one of: {', '.join(served)}; leave `task` out")
    return served[name]
