"""Options: check before the work that the settings fit the model, its sites and one another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.shape import Shape, uniform_shape, uniform_structures
from infoprune.errors import InputError
from infoprune.pipeline.settings import Settings
from infoprune.pipeline.training import Training
from infoprune.plan import HIDDEN_SIZE_PER_LAYER
from infoprune.processes import process_count
from infoprune.ranking.criteria import Criterion, PairedCriterion
from infoprune.ranking.rank import check_criterion
from infoprune.repairing.repair import check_repairable
from infoprune.statistics.statistics import Statistics
from infoprune.structure.site import Site


def shape_of(
    model: PreTrainedModel, structures: Collection[str] | None, settings: Settings
) -> tuple[Collection[str] | None, Shape | None]:
    """Return the types of structure to cut under some settings, and the permitted sizes; None for any sizes.

    Args:
        model: The model to cut.
        structures: The types that were given; None for the default.
        settings: Settings, of which the shape is used.

    Raises:
        InputError: The shape is "uniform", and plain transformers cannot open such a result.
    """
    if settings.shape == "free":
        return structures, None
    together = uniform_structures(model, structures)
    return together, uniform_shape(model, together)


def check_options(
    sites: Sequence[Site],
    criterion: Criterion,
    settings: Settings,
    size: Keep | Budget,
    training: Training | None,
    statistics: Statistics | None,
) -> None:
    """Raise InputError where the options do not fit one another."""
    _check_size(settings, size)
    _check_stream(sites, criterion, settings)
    check_criterion(criterion, sites)
    if settings.repair:
        check_repairable(sites)
    if settings.memory is not None and isinstance(criterion, PairedCriterion):
        raise InputError(
            f"criterion {criterion.name!r} keeps the statistics of all sites in memory, so its memory cannot be "
            "limited; leave `memory` out, or pass `criterion=information`"
        )
    if statistics is not None and (settings.refresh == "site" or isinstance(criterion, PairedCriterion)):
        raise InputError(
            f"`statistics` were given, but criterion {criterion.name!r} with refresh {settings.refresh!r} needs "
            "statistics of the pruned model too; leave them out, or pass `criterion=information` and refresh 'round'"
        )
    if training is not None and process_count() > 1:
        raise InputError(
            f"{process_count()} processes were to distill, expected one; prune with several processes without "
            "`distill`, and distill the result in one (infoprune finetune --teacher)"
        )


def _check_size(settings: Settings, size: Keep | Budget) -> None:
    if not isinstance(size, Budget):
        return
    if settings.shape == "uniform" and size.depth:
        raise InputError(
            "`shape=uniform` and `depth` were given, but no stock config supports a removed block; "
            "leave `depth` out, or pass `shape=free`"
        )
    if settings.refresh == "site":
        raise InputError(
            "refresh 'site' ranks one site at a time, but a budget compares the losses of all sites; pass refresh "
            "'round', or a share as `keep=0.5`"
        )


def _check_stream(sites: Sequence[Site], criterion: Criterion, settings: Settings) -> None:
    stream = next((site.structure for site in sites if site.streams), None)
    if isinstance(criterion, PairedCriterion) and stream is not None:
        raise InputError(
            f"criterion {criterion.name!r} compares one site with the one above, but every layer reads the hidden "
            f"size; leave {stream} out of `structures`, or pass `criterion=information`"
        )
    if stream == HIDDEN_SIZE_PER_LAYER and (settings.rounds > 1 or settings.refresh == "site"):
        raise InputError(
            f"{HIDDEN_SIZE_PER_LAYER} was given with rounds {settings.rounds} and refresh {settings.refresh!r}, "
            "expected one round: the hidden sizes depend on one another and are chosen together; "
            "leave `rounds` and refresh out"
        )
