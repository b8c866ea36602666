"""Evaluate: the job of `infoprune evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from infoprune.data.media import MediaData
from infoprune.errors import InputError
from infoprune.jobs.inputs import Columns, Packing, StrPath, Texts, device_named, stage
from infoprune.jobs.models import chosen_task, open_model
from infoprune.jobs.speech import transcripts_of, word_metrics
from infoprune.jobs.tasks import check_columns, eval_batches_of, read
from infoprune.measuring.measure import count_parameters
from infoprune.pipeline.clock import StageProgress
from infoprune.sources.models import model_folder
from infoprune.tasks.compare import compare
from infoprune.tasks.evaluate import evaluate
from infoprune.tasks.table import Reads


@dataclass(frozen=True)
class Scores:
    """Scores of the model in a folder.

    Args:
        model: The folder or name.
        inputs: Number of texts, pictures or clips.
        parameters: Number of the model's parameters.
        metrics: Name to value, as from `evaluate`; with another model also `agreement` (for embeddings `cosine`) and
            `kl`, or for numbers `correlation` and `squared_difference`, as from `compare`.
        against: Metrics of the other model on the same inputs; empty without another model, or without labels.
        reads: What the inputs are: "texts", "pictures" or "clips".
    """

    model: str
    inputs: int
    parameters: int
    metrics: Mapping[str, float]
    against: Mapping[str, float] = field(default_factory=dict)
    reads: Reads = "texts"


def evaluate_folder(
    folder: StrPath,
    eval: Texts,
    *,
    against: StrPath | None = None,
    task: str | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: StageProgress | None = None,
) -> Scores:
    """Score a dense or pruned model on texts, pictures or clips, or compare it with another.

    Args:
        folder: Folder with the model and its tokenizer, or name of a model on the hub.
        eval: Texts, pictures or clips, with the labels or targets by which the task is scored; with `against` none are
            needed.
        against: Folder or name of the reference model, such as the dense one; it must have the same tokens.
        task: Task of the model; by default that of its class.
        columns: Columns of the texts.
        packing: Batch size and length.
        seed: Seed of the masked tokens for a masked language model.
        device: "auto", "cpu", "cuda", "mps".
        progress: Called with (stage, done, of).

    Raises:
        InputError: A folder, the texts or an option is not valid; the message gives the remedy.

    Examples:
        >>> evaluate_folder("my-classifier", "test.csv").metrics
        {'accuracy': 0.84, 'macro_f1': 0.84}
    """
    columns, packing = columns or Columns(), packing or Packing()
    torch_device = device_named(device)
    name = str(folder)
    folder = model_folder(folder, progress=progress)
    against = None if against is None else model_folder(against, progress=progress)
    aim = chosen_task(folder, task)
    if against is not None:
        chosen_task(against, aim.name)
    check_columns(aim, columns)
    texts = read(aim, columns, eval, scored=True, needed=against is None, split="validation", progress=progress)
    model, tokenizer = open_model(folder, torch_device, aim)
    dense = None if against is None else open_model(against, torch_device, aim)[0]
    batches = eval_batches_of(texts, aim, dense or model, tokenizer, packing, seed)
    if dense is None:
        metrics = evaluate(model, batches, stage("evaluate", progress)).metrics
        if isinstance(texts, MediaData) and aim.reads == "clips" and aim.truth == "text":
            said = transcripts_of(model, texts, aim, tokenizer, packing)
            metrics |= word_metrics(texts.transcripts, said)
        return Scores(name, len(texts), count_parameters(model), metrics, reads=aim.reads)
    check_outputs(model, dense)
    comparison = compare(dense, model, batches, progress=stage("evaluate", progress))
    if isinstance(texts, MediaData) and aim.reads == "clips" and aim.truth == "text":
        first, said = (transcripts_of(each, texts, aim, tokenizer, packing) for each in (dense, model))
        comparison.small.update(word_metrics(texts.transcripts, said, first))
        comparison.dense.update(word_metrics(texts.transcripts, first))
    return Scores(name, len(texts), count_parameters(model), comparison.metrics(), comparison.dense, aim.reads)


def check_outputs(model: PreTrainedModel, dense: PreTrainedModel) -> None:
    """Raise InputError unless two models have the same class and as many tokens and outputs."""
    ours, theirs = (
        (type(each).__name__, getattr(each.config, "vocab_size", None), each.config.num_labels)
        for each in (model, dense)
    )
    if ours != theirs:
        tokens = ("", "") if ours[1] is None else (f"{ours[1]} tokens and ", f"{theirs[1]} and ")
        raise InputError(
            f"the models are a {ours[0]} of {tokens[0]}{ours[2]} outputs and a {theirs[0]} of {tokens[1]}{theirs[2]}, "
            "expected the same; pass the model that it was pruned from"
        )
