"""Export: the job of `infoprune export`."""

from __future__ import annotations

from dataclasses import replace

import torch

from infoprune.data.texts import TextData
from infoprune.jobs.inputs import Columns, Packing, StrPath, check_positive
from infoprune.jobs.models import chosen_task, open_model
from infoprune.serving.export import Exported, check_file, export

TEXTS = (
    "Yes.",
    "A short sentence of no importance.",
    "The film is long, the plot is thin, and the music comes in whenever somebody has to be moved.",
    "Please tell me where my parcel is: it should have come on Tuesday, and nobody answers the phone.",
    "An open window lets in the noise of the street. " * 8,
)
"""Texts on which a graph is compared where no data are given: from one word to a hundred."""


def export_folder(
    folder: StrPath,
    file: StrPath,
    *,
    data: StrPath | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    samples: int = 256,
    int8: bool = False,
    seed: int = 0,
    force: bool = False,
) -> Exported:
    """Write the dense or pruned model in a folder as one .onnx file, compared with PyTorch on real texts.

    Args:
        folder: Folder with the model and its tokenizer.
        file: The .onnx file; it is written completely or not at all.
        data: File of texts to compare on; by default a few built-in sentences.
        columns: Columns of that file.
        packing: Batch size and length of the comparison.
        samples: Number of texts to sample from it.
        int8: Whether to quantise weights and activations to 8 bits.
        seed: Seed of that sample.
        force: Whether to replace `file` if it exists.

    Raises:
        InputError: The folder, the data or an option is not valid; the message gives the remedy.

    Examples:
        >>> export_folder("half", "half.onnx", data="valid.csv", int8=True).agreement
        0.996
    """
    columns, packing = columns or Columns(), packing or Packing(batch_size=4)
    check_positive("samples", samples)
    check_file(file, force=force)
    texts = TextData(TEXTS, None, None, "the built-in texts") if data is None else columns.read(data, labels=False)
    model, tokenizer = open_model(folder, torch.device("cpu"), chosen_task(folder))
    batches = packing.pack(texts, model, tokenizer, samples=samples, seed=seed)
    return replace(export(model, file, batches, int8=int8, force=force), file=str(file))
