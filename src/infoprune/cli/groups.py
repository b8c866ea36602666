"""Options that belong together: a command takes them as one value."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, get_type_hints

from infoprune.cli import options

if TYPE_CHECKING:
    from infoprune.jobs.inputs import Columns, Packing


@dataclass(frozen=True)
class TextOptions:
    """Which columns of the files are read."""

    text: options.Text = None
    text_pair: options.TextPair = None
    label: options.Label = None

    @property
    def columns(self) -> "Columns":
        """As the jobs take them."""
        from infoprune.jobs.inputs import Columns

        return Columns(self.text, self.text_pair, self.label)


@dataclass(frozen=True)
class RunOptions:
    """How a model is run over texts, and where."""

    max_length: options.MaxLength = None
    batch_size: options.BatchSize = None
    seed: options.Seed = 0
    device: options.Device = "auto"

    @property
    def packing(self) -> "Packing":
        """As the jobs take it."""
        from infoprune.jobs.inputs import Packing

        return Packing(self.batch_size, self.max_length)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for each field of those of its parameters that are dataclasses; typer knows none.

    Example:
        >>> list(inspect.signature(grouped(evaluate_command)).parameters)[:3]
        ['model', 'data', 'text']
    """
    hints: dict[str, type] = get_type_hints(command)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(command)
    def flat(**given: object) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        parts = inspect.signature(groups[name]).parameters.values() if name in groups else (parameter,)
        parameters += (part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parts)
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
