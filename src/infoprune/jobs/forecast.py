"""Forecast: the job of `infoprune forecast`."""

from __future__ import annotations

from collections.abc import Collection

from infoprune.checkpoint import empty_model
from infoprune.forecasting.forecast import forecast
from infoprune.forecasting.stages import Forecast
from infoprune.forecasting.workload import Workload
from infoprune.jobs.inputs import StrPath, device_named
from infoprune.measuring.measure import example_length
from infoprune.sources.models import model_folder
from infoprune.tasks.sentence import read_sentence_folder


def forecast_folder(
    folder: StrPath, work: Workload, *, structures: Collection[str] | None = None, device: str = "auto"
) -> Forecast:
    """Forecast memory and time of pruning the model in a folder, from its config.json and plan.json alone.

    Args:
        folder: Folder of the model, or its name on the hub; the weights are not needed.
        work: Texts and size; the length of the texts is limited to the positions of the model.
        structures: Types of structure to cut; None means all.
        device: Device whose speed is measured.

    Raises:
        InputError: The folder has no config of a supported model, or an option is not valid.

    Examples:
        >>> forecast_folder("my-classifier", Workload(samples=1024, max_length=64)).passes
        1
    """
    torch_device = device_named(device)
    folder = model_folder(folder, weights=False)
    sentence = read_sentence_folder(folder)
    headless = sentence is not None and sentence.embeds
    model = empty_model(folder if sentence is None else sentence.transformer, headless=headless)
    length = example_length(model.config, work.max_length)
    return forecast(
        model,
        Workload(work.samples, length, work.batch_size, work.keep, work.memory),
        structures=structures,
        device=torch_device,
    )
