"""The job of `infoprune collect`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infoprune.archive import save_statistics
from infoprune.clock import StageProgress
from infoprune.jobs.inputs import Columns, Packing, StrPath, check_apart, check_positive, device_named
from infoprune.jobs.models import check_family, chosen_task, open_model
from infoprune.jobs.tasks import check_columns, inputs_of, parted, read
from infoprune.measuring.measure import count_bytes
from infoprune.processes import process_index, share_of
from infoprune.settings import Settings
from infoprune.statistics.calibration import warn_few_tokens, with_targets
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.tasks.sentence import read_sentence_folder


@dataclass(frozen=True)
class Collection:
    """What is to be collected.

    Args:
        sites: kinds of site; None means all that the layers of the family have.
        samples: texts to draw.
        settings: floor, shrinkage and memory of the statistics.
        seed: of everything that draws.

    Raises:
        InputError: no samples are asked for.
    """

    sites: tuple[str, ...] | None = None
    samples: int = 1024
    settings: Settings = field(default_factory=Settings)
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive("samples", self.samples)


@dataclass(frozen=True)
class Collected:
    """What was collected.

    Args:
        inputs: texts.
        tokens: of these, without padding.
        sites: names, bottom to top.
        bytes: of the folder.
    """

    inputs: int
    tokens: int
    sites: Sequence[str]
    bytes: int


def collect_folder(
    folder: StrPath,
    out: StrPath,
    data: StrPath,
    *,
    columns: Columns | None = None,
    collection: Collection | None = None,
    task: str | None = None,
    packing: Packing | None = None,
    device: str = "auto",
    force: bool = False,
    progress: StageProgress | None = None,
) -> Collected:
    """Collects the statistics of the model in a folder and writes them as a new folder.

    In a process group every process takes its share of the texts, and the first alone writes.

    Args:
        folder: with the model and its tokenizer.
        out: new folder; it appears whole or not at all.
        data: file of texts.
        columns: of the file.
        collection: what to collect.
        task: what the model is for; by default what its class is for.
        packing: batch size and length.
        device: "auto", "cpu", "cuda", "mps".
        force: replace `out` if it is there.
        progress: called with (stage, done, of).

    Raises:
        InputError: something about folder, data or options is wrong; the message says what to do.

    Example:
        >>> collect_folder("my-classifier", "my-classifier.statistics", "train.csv").inputs
        1024
    """
    collection, packing, columns = collection or Collection(), packing or Packing(), columns or Columns()
    place = device_named(device)
    check_apart(out, folder, data, force=force)
    aim = chosen_task(folder, task)
    sentence = read_sentence_folder(folder)
    check_family(folder if sentence is None else sentence.transformer, collection.sites)
    check_columns(aim, columns)
    texts = read(aim, columns, data, scored=False)
    model, tokenizer = open_model(folder, place, aim)
    sample, _ = parted(texts, collection.samples, collection.seed)
    batches = with_targets(model, share_of(inputs_of(sample, aim, model, tokenizer, packing)))
    sites = find_sites(model, collection.sites)
    warn_few_tokens(sites, batches)
    statistics = collect(
        model,
        batches,
        sites=sites,
        floor=collection.settings.floor,
        ridge=collection.settings.shrinkage,
        seed=collection.seed,
        memory=collection.settings.memory,
        progress=None if progress is None else lambda done, of: progress("collect", done, of),
    )
    if process_index() == 0:
        save_statistics(statistics, out, force=force)
    size = count_bytes(Path(out)) if process_index() == 0 else 0
    return Collected(statistics.inputs, statistics.tokens, list(statistics.sites), size)
