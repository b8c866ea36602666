"""Structured pruning of Transformers by information.

Example:
    >>> import infoprune
    >>> model = infoprune.load("my-classifier")
    >>> batches = infoprune.make_batches(infoprune.read_texts("reviews.csv"), tokenizer, samples=1024)
    >>> result = infoprune.compress(model, batches, keep=0.5)
    >>> infoprune.save(result.model, "my-classifier-half", tokenizer)
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infoprune.archive import load_statistics, save_statistics
    from infoprune.budgets.allocate import allocate
    from infoprune.budgets.budget import Budget, Keep
    from infoprune.budgets.costs import find_costs
    from infoprune.checkpoint import empty_model, load, save
    from infoprune.compress import Result, compress
    from infoprune.data.batches import make_batches
    from infoprune.data.texts import read_texts
    from infoprune.errors import InputError
    from infoprune.forecast import Workload, forecast
    from infoprune.methods.apply import collect_for, prune_by
    from infoprune.methods.table import METHODS
    from infoprune.plan import Plan
    from infoprune.processes import process_group, share_of
    from infoprune.ranking.criteria import ChannelInformation, Random, criterion_named
    from infoprune.ranking.fan2021 import Fan2021
    from infoprune.ranking.rank import rank
    from infoprune.ranking.scores import Magnitude
    from infoprune.repair.repair import repair
    from infoprune.reports.report import Report
    from infoprune.search import Tolerance, search
    from infoprune.serving.export import export
    from infoprune.settings import Settings
    from infoprune.statistics.collect import collect
    from infoprune.statistics.collect_pairs import collect_pairs
    from infoprune.statistics.merge import merge_statistics
    from infoprune.structure.sites import find_sites
    from infoprune.surgery import prune
    from infoprune.tasks.evaluate import evaluate
    from infoprune.training.distill import Distillation, Recovery, distill
    from infoprune.training.finetune import finetune
    from infoprune.vocabulary.tokens import SmallVocabulary, prune_vocabulary

    __version__: str

__all__ = [
    "METHODS",
    "Budget",
    "ChannelInformation",
    "Distillation",
    "Fan2021",
    "InputError",
    "Keep",
    "Magnitude",
    "Plan",
    "Random",
    "Recovery",
    "Report",
    "Result",
    "Settings",
    "SmallVocabulary",
    "Tolerance",
    "Workload",
    "__version__",
    "allocate",
    "collect",
    "collect_for",
    "collect_pairs",
    "compress",
    "criterion_named",
    "distill",
    "empty_model",
    "evaluate",
    "export",
    "find_costs",
    "find_sites",
    "finetune",
    "forecast",
    "load",
    "load_statistics",
    "make_batches",
    "merge_statistics",
    "process_group",
    "prune",
    "prune_by",
    "prune_vocabulary",
    "rank",
    "read_texts",
    "repair",
    "save",
    "save_statistics",
    "search",
    "share_of",
]

_HOMES = {
    "archive": ("load_statistics", "save_statistics"),
    "budgets.allocate": ("allocate",),
    "budgets.budget": ("Budget", "Keep"),
    "budgets.costs": ("find_costs",),
    "checkpoint": ("empty_model", "load", "save"),
    "compress": ("Result", "compress"),
    "data.batches": ("make_batches",),
    "data.texts": ("read_texts",),
    "errors": ("InputError",),
    "forecast": ("Workload", "forecast"),
    "methods.apply": ("collect_for", "prune_by"),
    "methods.table": ("METHODS",),
    "plan": ("Plan",),
    "processes": ("process_group", "share_of"),
    "ranking.criteria": ("ChannelInformation", "Random", "criterion_named"),
    "ranking.fan2021": ("Fan2021",),
    "ranking.rank": ("rank",),
    "ranking.scores": ("Magnitude",),
    "repair.repair": ("repair",),
    "reports.report": ("Report",),
    "search": ("Tolerance", "search"),
    "serving.export": ("export",),
    "settings": ("Settings",),
    "statistics.collect": ("collect",),
    "statistics.collect_pairs": ("collect_pairs",),
    "statistics.merge": ("merge_statistics",),
    "structure.sites": ("find_sites",),
    "surgery": ("prune",),
    "tasks.evaluate": ("evaluate",),
    "training.distill": ("Distillation", "Recovery", "distill"),
    "training.finetune": ("finetune",),
    "vocabulary.tokens": ("SmallVocabulary", "prune_vocabulary"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: torch and transformers take seconds, `--help` must not."""
    if name == "__version__":
        value: object = import_module("importlib.metadata").version(__name__)
    elif name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package, in which a public name is never hidden by the module of the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import of infoprune.repair.ridge ends with setattr(infoprune, "repair", module).
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
