"""Cut: the options of `infoprune prune`: its texts, and what is pruned how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from infoprune.budgets.budget import Budget
from infoprune.errors import InputError
from infoprune.jobs.inputs import Columns, StrPath, Texts, check_positive
from infoprune.pipeline.settings import Settings
from infoprune.pipeline.size import MaxLoss, Size, check_trained, size_of
from infoprune.plan import VOCABULARY
from infoprune.ranking.criteria import criterion_named
from infoprune.statistics.archive import load_statistics
from infoprune.statistics.merge import merge_statistics
from infoprune.statistics.statistics import Statistics
from infoprune.tasks.table import Task, check_distillable
from infoprune.training.distill import Distillation
from infoprune.vocabulary.dropped import Dropped


@dataclass(frozen=True)
class Sources:
    """Texts and statistics.

    Args:
        data: Calibration texts; labels are not needed. See `read_texts` for what can be given.
        eval: Texts on which the dense and the pruned model are scored, with labels or without. By default as many
            further texts of the calibration data as were sampled, unless these are trained on.
        columns: Columns of both.
        samples: Number of calibration texts to sample.
        statistics: Folders from `infoprune collect` by which the units are chosen, merged where there are several; the
            calibration texts are then only for the repair and the report.

    Raises:
        InputError: `samples` is below 1.
    """

    data: Texts
    eval: Texts | None = None
    columns: Columns = field(default_factory=Columns)
    samples: int = 1024
    statistics: Sequence[StrPath] = ()

    def __post_init__(self) -> None:
        check_positive("samples", self.samples)

    def given(self) -> Statistics | None:
        """Load the given statistics, merged; None where none were given."""
        found = [load_statistics(folder) for folder in self.statistics]
        return merge_statistics(*found) if found else None


@dataclass(frozen=True)
class Cut:
    """Size, structures and method of a cut.

    Args:
        keep: Share of the units of every site to keep.
        budget: Limit on the cost of the result, instead of `keep`; where no size is given, half of the FLOPs, or of the
            parameters where experts are cut.
        max_loss: Largest loss on the evaluation texts, instead of both; the smallest model within it is searched.
        structures: Types of structure; None means all that the layers of the family have. "vocabulary" is cut first.
        min_count: Occurrences in the data that a token needs to be kept, where the vocabulary is cut; 1 by default.
        extra_tokens: Number of further tokens to keep, the likeliest in new texts; 0 by default.
        dropped_tokens: How removed tokens are handled, "remap" or "pieces"; None as in `prune_vocabulary`.
        criterion: Name of the criterion that chooses the units.
        settings: Rounds and repair.
        distill: Distillation on all of the data after the cut, or None.
        seed: Seed of everything that is random.

    Raises:
        InputError: The share is out of range, more than one size is given, the criterion is not known, or an option
            would have no effect.
    """

    keep: float | None = None
    budget: Budget | None = None
    max_loss: MaxLoss | None = None
    structures: tuple[str, ...] | None = None
    min_count: int | None = None
    extra_tokens: int | None = None
    dropped_tokens: Dropped | None = None
    criterion: str = "information"
    settings: Settings = field(default_factory=Settings)
    distill: Distillation | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("min_count", "extra_tokens", "dropped_tokens"):
            if getattr(self, name) is not None and self.tokens is None:
                raise InputError(f"`{name}` was given, but no tokens are cut; add vocabulary to `structures`")
        if self.dropped_tokens == "remap" and self.settings.shape == "uniform":
            raise InputError(
                "`shape=uniform` and `dropped_tokens=remap` were given, but plain transformers cannot open a model "
                "with remapped tokens; pass `shape=free`, or `dropped_tokens=pieces`"
            )
        if self.layers == () and self.structures and (self.keep or self.budget or self.max_loss or self.distill):
            raise InputError(
                "only the vocabulary is cut, so `keep`, `budget`, a largest loss and `distill` have no effect; "
                "leave them out, or add e.g. ffn to `structures`"
            )
        check_trained(size_of(self.keep, self.budget, self.max_loss), self.distill is not None)
        criterion_named(self.criterion)

    @property
    def size(self) -> Size:
        """Size of the result."""
        return size_of(self.keep, self.budget, self.max_loss)

    @property
    def layers(self) -> tuple[str, ...] | None:
        """Types of structure in the layers; None means all."""
        return None if self.structures is None else tuple(name for name in self.structures if name != VOCABULARY)

    @property
    def tokens(self) -> int | None:
        """Occurrences that a token needs to be kept; None where the vocabulary is not cut."""
        return (1 if self.min_count is None else self.min_count) if VOCABULARY in (self.structures or ()) else None


CLASSIFIERS = ("classification", "image-classification", "audio-classification")
"""Tasks whose models a search serves."""


def check_cut(cut: Cut, task: Task) -> None:
    """Raise InputError where a task does not support a cut."""
    if cut.max_loss is not None and task.name not in CLASSIFIERS:
        raise InputError(f"a largest loss was given for {task.name}, expected a classifier; pass `keep` or `budget`")
    if cut.distill is not None:
        check_distillable(task.name)
    if cut.tokens is not None and task.name not in ("classification", "embedding"):
        raise InputError(
            f"vocabulary is cut for {task.name}, expected a task with one answer per input, since answers at different "
            "tokens cannot be compared; leave vocabulary out of `structures`, or use infoprune.prune_vocabulary"
        )
