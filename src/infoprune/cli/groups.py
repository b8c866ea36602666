"""Groups: options that belong together; a command takes each panel of its help as one value."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, get_type_hints

from infoprune.cli import cut_options, options, read

if TYPE_CHECKING:
    from infoprune.budgets.budget import Budget
    from infoprune.jobs.inputs import Columns, Packing
    from infoprune.pipeline.size import MaxLoss


@dataclass(frozen=True)
class ColumnOptions:
    """Columns of the files to read."""

    text: options.Text = None
    text_pair: options.TextPair = None
    label: options.Label = None

    @property
    def columns(self) -> "Columns":
        """Columns for the jobs."""
        from infoprune.jobs.inputs import Columns

        return Columns(self.text, self.text_pair, self.label)


@dataclass(frozen=True)
class SizeOptions:
    """Size of the result."""

    keep: cut_options.Keep = None
    budget: cut_options.BudgetOption = None
    max_loss: cut_options.MaxLossOption = None
    max_kl: cut_options.MaxKl = None
    allocation: cut_options.Allocation = None
    depth: cut_options.Depth = False

    @property
    def share(self) -> float | None:
        """Value of --keep."""
        return None if self.keep is None else read.number("--keep", self.keep, "0.5")

    @property
    def cost(self) -> "Budget | None":
        """Value of --budget, --allocation and --depth."""
        otherwise = any(each is not None for each in (self.keep, self.max_loss, self.max_kl))
        default = None if otherwise else read.DEFAULT_BUDGET
        return read.budget(self.budget, self.allocation, depth=self.depth, default=default)

    @property
    def loss(self) -> "MaxLoss | None":
        """Value of --max-loss or --max-kl."""
        return read.max_loss(self.max_loss, self.max_kl)


@dataclass(frozen=True)
class StructureOptions:
    """Structures to cut, and the criterion that chooses their units."""

    structures: cut_options.Structures = None
    shape: cut_options.ShapeOption = "free"
    criterion: cut_options.CriterionName = "information"
    statistics: cut_options.StatisticsFolders = None


@dataclass(frozen=True)
class VocabularyOptions:
    """Tokens to keep where the vocabulary is cut."""

    min_count: cut_options.MinCount = None
    extra_tokens: cut_options.ExtraTokens = None
    dropped_tokens: cut_options.DroppedTokens = None


@dataclass(frozen=True)
class AfterOptions:
    """Repair, distillation and rounds."""

    repair: cut_options.Repair = True
    effort: cut_options.Effort = "normal"
    distill: cut_options.Distill = None
    rounds: cut_options.Rounds = 1


@dataclass(frozen=True)
class RunOptions:
    """Batches, seed and device."""

    max_length: options.MaxLength = None
    batch_size: options.BatchSize = None
    seed: options.Seed = 0
    device: options.Device = "auto"

    @property
    def packing(self) -> "Packing":
        """Batch size and length for the jobs."""
        from infoprune.jobs.inputs import Packing

        return Packing(self.batch_size, self.max_length)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with an option for each field of its dataclass parameters, which typer does not support.

    Examples:
        >>> list(inspect.signature(grouped(evaluate_command)).parameters)[:3]
        ['model', 'eval_file', 'text']
    """
    hints: dict[str, type] = get_type_hints(command)
    groups = {name: group for name, group in hints.items() if is_dataclass(group)}

    @wraps(command)
    def flat(**given: object) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        parts = inspect.signature(groups[name]).parameters.values() if name in groups else (parameter,)
        parameters += (part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parts)
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
