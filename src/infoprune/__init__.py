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
    from infoprune.allocate import allocate
    from infoprune.batches import make_batches
    from infoprune.budget import Budget, Keep
    from infoprune.checkpoint import load, save
    from infoprune.collect import collect
    from infoprune.collect_pairs import collect_pairs
    from infoprune.compress import Result, compress
    from infoprune.costs import find_costs
    from infoprune.criteria import ChannelInformation, Magnitude, Random
    from infoprune.data import read_texts
    from infoprune.distill import Distillation, Recovery, distill
    from infoprune.errors import InputError
    from infoprune.evaluate import evaluate
    from infoprune.export import export
    from infoprune.fan2021 import Fan2021
    from infoprune.finetune import finetune
    from infoprune.plan import Plan
    from infoprune.rank import rank
    from infoprune.repair import repair
    from infoprune.report import Report
    from infoprune.search import Tolerance, search
    from infoprune.settings import Settings
    from infoprune.sites import find_sites
    from infoprune.surgery import prune
    from infoprune.vocabulary import SmallVocabulary, prune_vocabulary

    __version__: str

__all__ = [
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
    "__version__",
    "allocate",
    "collect",
    "collect_pairs",
    "compress",
    "distill",
    "evaluate",
    "export",
    "find_costs",
    "find_sites",
    "finetune",
    "load",
    "make_batches",
    "prune",
    "prune_vocabulary",
    "rank",
    "read_texts",
    "repair",
    "save",
    "search",
]

_HOMES = {
    "allocate": ("allocate",),
    "batches": ("make_batches",),
    "budget": ("Budget", "Keep"),
    "checkpoint": ("load", "save"),
    "collect": ("collect",),
    "collect_pairs": ("collect_pairs",),
    "compress": ("Result", "compress"),
    "costs": ("find_costs",),
    "criteria": ("ChannelInformation", "Magnitude", "Random"),
    "data": ("read_texts",),
    "distill": ("Distillation", "Recovery", "distill"),
    "errors": ("InputError",),
    "evaluate": ("evaluate",),
    "export": ("export",),
    "fan2021": ("Fan2021",),
    "finetune": ("finetune",),
    "plan": ("Plan",),
    "rank": ("rank",),
    "repair": ("repair",),
    "report": ("Report",),
    "search": ("Tolerance", "search"),
    "settings": ("Settings",),
    "sites": ("find_sites",),
    "surgery": ("prune",),
    "vocabulary": ("SmallVocabulary", "prune_vocabulary"),
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
        # The import of infoprune.collect ends with setattr(infoprune, "collect", module).
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
