"""The job of `infoprune plan-memory`."""

from __future__ import annotations

from collections.abc import Collection

from infoprune.checkpoint import empty_model
from infoprune.forecast import Forecast, Workload, forecast
from infoprune.jobs.inputs import StrPath, device_named
from infoprune.measuring.measure import example_length
from infoprune.tasks.sentence import read_sentence_folder


def forecast_folder(
    folder: StrPath, work: Workload, *, kinds: Collection[str] | None = None, device: str = "auto"
) -> Forecast:
    """What pruning the model in a folder will take; of the folder only config.json and plan.json are read.

    Args:
        folder: of a model.
        work: the texts; longer ones than the model has positions count as so long.
        kinds: of site to cut; None means all.
        device: whose speed is measured.

    Raises:
        InputError: the folder holds no config of a model that is supported, or an option makes no sense.

    Example:
        >>> forecast_folder("my-classifier", Workload(samples=1024, length=64)).passes
        1
    """
    place = device_named(device)
    sentence = read_sentence_folder(folder)
    model = empty_model(folder if sentence is None else sentence.transformer, headless=sentence is not None)
    length = example_length(model.config, work.length)
    return forecast(
        model, Workload(work.samples, length, work.batch_size, work.keep, work.memory), kinds=kinds, device=place
    )
