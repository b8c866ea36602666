"""Collect: the job of `infoprune collect`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infoprune.jobs.inputs import Columns, Packing, StrPath, Texts, check_apart, check_positive, device_named
from infoprune.jobs.models import check_family, chosen_task, open_model
from infoprune.jobs.tasks import check_columns, inputs_of, read, split_samples
from infoprune.measuring.free_memory import left_of
from infoprune.measuring.measure import count_bytes
from infoprune.pipeline.clock import StageProgress
from infoprune.pipeline.settings import Settings
from infoprune.processes import process_index, share_of
from infoprune.sources.models import model_folder
from infoprune.statistics.archive import save_statistics
from infoprune.statistics.calibration import warn_few_tokens, with_targets
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.tasks.sentence import read_sentence_folder


@dataclass(frozen=True)
class Collection:
    """Statistics to collect.

    Args:
        structures: Types of structure; None means all that the layers of the family have.
        samples: Number of texts to sample.
        settings: Smoothing, shrinkage and memory of the statistics.
        seed: Seed of everything that is random.

    Raises:
        InputError: `samples` is below 1.
    """

    structures: tuple[str, ...] | None = None
    samples: int = 1024
    settings: Settings = field(default_factory=Settings)
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive("samples", self.samples)


@dataclass(frozen=True)
class Collected:
    """Collected statistics.

    Args:
        inputs: Number of texts.
        tokens: Number of their tokens, without padding.
        sites: Names of the sites, bottom to top.
        bytes: Size of the folder.
    """

    inputs: int
    tokens: int
    sites: Sequence[str]
    bytes: int


def collect_folder(
    folder: StrPath,
    out: StrPath,
    data: Texts,
    *,
    columns: Columns | None = None,
    collection: Collection | None = None,
    task: str | None = None,
    packing: Packing | None = None,
    device: str = "auto",
    force: bool = False,
    progress: StageProgress | None = None,
) -> Collected:
    """Collect the statistics of the model in a folder and write them as a new folder.

    In a process group every process runs on its share of the texts, and only the first writes.

    Args:
        folder: Folder with the model and its tokenizer, or name of a model on the hub.
        out: New folder; it is written completely or not at all.
        data: Texts.
        columns: Columns of the texts.
        collection: Statistics to collect.
        task: Task of the model; by default that of its class.
        packing: Batch size and length.
        device: "auto", "cpu", "cuda", "mps".
        force: Whether to replace `out` if it exists.
        progress: Called with (stage, done, of).

    Raises:
        InputError: The folder, the data or an option is not valid; the message gives the remedy.

    Examples:
        >>> collect_folder("my-classifier", "my-classifier.statistics", "train.csv").inputs
        1024
    """
    collection, packing, columns = collection or Collection(), packing or Packing(), columns or Columns()
    torch_device = device_named(device)
    check_apart(out, folder, data, force=force)
    folder = model_folder(folder, progress=progress)
    check_apart(out, folder, force=True)
    aim = chosen_task(folder, task)
    sentence = read_sentence_folder(folder)
    check_family(folder if sentence is None else sentence.transformer, collection.structures)
    check_columns(aim, columns)
    texts = read(aim, columns, data, scored=False, progress=progress)
    model, tokenizer = open_model(folder, torch_device, aim)
    sample, _ = split_samples(texts, collection.samples, collection.seed)
    batches = with_targets(model, list(share_of(inputs_of(sample, aim, model, tokenizer, packing))))
    sites = find_sites(model, collection.structures)
    warn_few_tokens(sites, batches)
    statistics = collect(
        model,
        batches,
        sites=sites,
        smoothing=collection.settings.smoothing,
        shrinkage=collection.settings.shrinkage,
        seed=collection.seed,
        memory=left_of(collection.settings.memory, torch_device),
        progress=None if progress is None else lambda done, of: progress("collect", done, of),
    )
    if process_index() == 0:
        save_statistics(statistics, out, force=force)
    size = count_bytes(Path(out)) if process_index() == 0 else 0
    return Collected(statistics.inputs, statistics.tokens, list(statistics.sites), size)
