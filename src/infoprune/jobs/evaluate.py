"""The job of `infoprune evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.jobs.inputs import Columns, Packing, StrPath, device_named
from infoprune.jobs.models import chosen_task, open_model
from infoprune.jobs.tasks import check_columns, questions_of, read
from infoprune.measuring.measure import count_parameters
from infoprune.tasks.compare import compare
from infoprune.tasks.evaluate import Progress, evaluate


@dataclass(frozen=True)
class Scores:
    """How good the model in a folder is.

    Args:
        model: the folder.
        inputs: how many texts it answered.
        parameters: of the model.
        metrics: name to value, as from `evaluate`; with another model also `agreement` (for embeddings `cosine`) and
            `kl`, as from `compare`.
    """

    model: str
    inputs: int
    parameters: int
    metrics: Mapping[str, float]


def evaluate_folder(
    folder: StrPath,
    data: StrPath,
    *,
    against: StrPath | None = None,
    task: str | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Scores a dense or pruned model on texts, or compares it with another.

    Args:
        folder: with the model and its tokenizer.
        data: file of texts, with labels or whatever else the task is scored by; with `against` it needs none.
        against: folder of the model that counts as right, such as the dense one; it must have the same tokens.
        task: what the model is for; by default what its class is for.
        columns: of that file.
        packing: batch size and length.
        seed: of the tokens that are masked for a masked language model.
        device: "auto", "cpu", "cuda", "mps".
        progress: called with (batches done, batches in all).

    Raises:
        InputError: something about folder, data or options is wrong; the message says what to do.

    Example:
        >>> evaluate_folder("my-classifier", "test.csv").metrics
        {'accuracy': 0.84, 'macro_f1': 0.84}
    """
    columns, packing = columns or Columns(), packing or Packing()
    place = device_named(device)
    aim = chosen_task(folder, task)
    if against is not None:
        chosen_task(against, aim.name)
    check_columns(aim, columns)
    texts = read(aim, columns, data, scored=True, needed=against is None)
    model, tokenizer = open_model(folder, place, aim)
    dense = None if against is None else open_model(against, place, aim)[0]
    batches = questions_of(texts, aim, dense or model, tokenizer, packing, seed)
    if dense is None:
        metrics = evaluate(model, batches, progress).metrics
    else:
        check_outputs(model, dense)
        metrics = compare(dense, model, batches, progress=progress).metrics()
    return Scores(str(folder), len(texts), count_parameters(model), metrics)


def check_outputs(model: PreTrainedModel, dense: PreTrainedModel) -> None:
    """Raises InputError unless two models read the same tokens and give as many numbers."""
    ours, theirs = ((type(each).__name__, each.config.vocab_size, each.config.num_labels) for each in (model, dense))
    if ours != theirs:
        raise InputError(
            f"the models are a {ours[0]} of {ours[1]} tokens and {ours[2]} outputs and a {theirs[0]} of {theirs[1]} "
            f"and {theirs[2]}, expected the same; pass the model that it was cut from"
        )
