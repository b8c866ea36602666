"""What `infoprune prune` is told: where the texts come from, and what is to be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from infoprune.archive import load_statistics
from infoprune.budgets.budget import Budget, Keep
from infoprune.errors import InputError
from infoprune.jobs.inputs import Columns, StrPath, check_positive
from infoprune.plan import VOCABULARY
from infoprune.ranking.criteria import criterion_named
from infoprune.search import Tolerance
from infoprune.settings import Settings
from infoprune.statistics.merge import merge_statistics
from infoprune.statistics.statistics import Statistics
from infoprune.tasks.table import Task
from infoprune.training.distill import Distillation
from infoprune.vocabulary.dropped import Dropped


@dataclass(frozen=True)
class Sources:
    """Where the texts come from.

    Args:
        data: file of calibration texts; labels are not needed.
        eval: file of texts to compare the dense and the pruned model on, with labels or without. By default as many of
            the calibration file's other texts as were drawn, unless these are trained on.
        columns: of both files.
        samples: calibration texts to draw.
        statistics: folders from `infoprune collect` to choose the units by, merged where there are several; the
            calibration texts are then for the repair and the report.

    Raises:
        InputError: no samples are asked for.
    """

    data: StrPath
    eval: StrPath | None = None
    columns: Columns = field(default_factory=Columns)
    samples: int = 1024
    statistics: Sequence[StrPath] = ()

    def __post_init__(self) -> None:
        check_positive("samples", self.samples)

    def given(self) -> Statistics | None:
        """The statistics, if there are any."""
        found = [load_statistics(folder) for folder in self.statistics]
        return merge_statistics(*found) if found else None


@dataclass(frozen=True)
class Cut:
    """What is to be cut, and how that is chosen.

    Args:
        keep: share of the units of every site that stays; one half where nothing else is said.
        budget: what the result may cost, instead of `keep`.
        tolerance: what it may lose on the evaluation texts, instead of both: the smallest that holds it is searched.
        sites: kinds of site; None means all that the layers of the family have. "vocabulary" is cut before all others.
        min_count: how often a token must occur in the data to stay, with the site vocabulary; 1 by default.
        extra_tokens: how many more tokens stay, the likeliest in new texts; none by default.
        dropped_tokens: what becomes of the others in a text, "nearest" or "pieces"; None as in `prune_vocabulary`.
        criterion: name of what chooses the units.
        settings: rounds and repair.
        distill: training on all of the data after the cut, or None.
        seed: of everything that draws.

    Raises:
        InputError: the share is out of range, more than one of the three is given, there is no such criterion, or what
            is given would change nothing.
    """

    keep: float | None = None
    budget: Budget | None = None
    tolerance: Tolerance | None = None
    sites: tuple[str, ...] | None = None
    min_count: int | None = None
    extra_tokens: int | None = None
    dropped_tokens: Dropped | None = None
    criterion: str = "information"
    settings: Settings = field(default_factory=Settings)
    distill: Distillation | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.keep, self.budget, self.tolerance)) > 1:
            raise InputError(
                "more than one of keep, budget and the largest loss was given, expected one; leave one out"
            )
        if self.tolerance is not None and self.distill is not None:
            raise InputError(
                "a largest loss and distillation were given, but a search does not train; distill with a budget"
            )
        of_tokens = {
            "min-count": self.min_count,
            "extra-tokens": self.extra_tokens,
            "dropped-tokens": self.dropped_tokens,
        }
        for name, given in of_tokens.items():
            if given is not None and self.tokens is None:
                raise InputError(f"{name} was given, but no tokens are cut; add vocabulary to --sites")
        if self.dropped_tokens == "nearest" and self.settings.shape == "uniform":
            raise InputError(
                "shape uniform and dropped-tokens nearest were given, but plain transformers cannot open a model whose "
                "tokens read the rows of others; use shape free, or dropped-tokens pieces"
            )
        if self.layers == () and self.sites and (self.keep or self.budget or self.tolerance or self.distill):
            raise InputError(
                "only the vocabulary is cut, so keep, budget, a largest loss and distill have nothing to decide; "
                "leave them out, or add e.g. ffn to --sites"
            )
        Keep(self.share)
        criterion_named(self.criterion)

    @property
    def layers(self) -> tuple[str, ...] | None:
        """Kinds of site in the layers; None means all."""
        return None if self.sites is None else tuple(kind for kind in self.sites if kind != VOCABULARY)

    @property
    def tokens(self) -> int | None:
        """How often a token must occur to stay; None where the vocabulary is not cut."""
        return (1 if self.min_count is None else self.min_count) if VOCABULARY in (self.sites or ()) else None

    @property
    def share(self) -> float:
        """Of the units, where neither a budget nor a tolerance decides."""
        return 0.5 if self.keep is None else self.keep


def check_cut(cut: Cut, task: Task) -> None:
    """Raises InputError where a cut is not for a task."""
    if cut.tolerance is not None and task.name != "classification":
        raise InputError(f"a largest loss was given for {task.name}, expected a classifier; pass --keep or --budget")
    if cut.distill is not None and task.name == "seq2seq":
        raise InputError("there is no distillation of encoder-decoders, expected another task; leave --distill out")
    if cut.tokens is not None and task.name not in ("classification", "embedding"):
        raise InputError(
            f"vocabulary is cut for {task.name}, expected a task with one answer an input, since answers at other "
            "tokens cannot be compared; leave vocabulary out of --sites, or use infoprune.prune_vocabulary"
        )
