"""The job of `infoprune evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infoprune.evaluate import Progress, evaluate
from infoprune.jobs.inputs import Columns, Packing, StrPath, device_named, open_classifier, read_config, targets
from infoprune.measure import count_parameters


@dataclass(frozen=True)
class Scores:
    """How good the model in a folder is.

    Args:
        model: the folder.
        inputs: how many texts it answered.
        parameters: of the model.
        metrics: name to value, as from `evaluate`.
    """

    model: str
    inputs: int
    parameters: int
    metrics: Mapping[str, float]


def evaluate_folder(
    folder: StrPath,
    data: StrPath,
    *,
    columns: Columns | None = None,
    packing: Packing | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Scores a dense or pruned model on labelled texts.

    Args:
        folder: with the model and its tokenizer.
        data: file of texts and labels.
        columns: of that file.
        packing: batch size and length.
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
    read_config(folder)
    texts = columns.read(data, need_labels=True)
    model, tokenizer = open_classifier(folder, place)
    batches = packing.pack(texts, model, tokenizer, labels=targets(model, texts))
    metrics = evaluate(model, batches, progress).metrics
    return Scores(str(folder), len(texts), count_parameters(model), metrics)
