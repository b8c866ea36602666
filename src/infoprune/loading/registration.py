"""Registration: make transformers open pruned models, now or as soon as it is imported.

Importing transformers takes seconds, and `import infoprune` must not. So where transformers is not there yet, a finder
of modules waits for the one with its table of load-time methods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

AWAITED = "transformers.modeling_utils"
"""Module that loads models; it has imported the table of load-time methods."""


def register() -> None:
    """Register the method with transformers, if it is imported already, or else when it will be; idempotent."""
    if AWAITED in sys.modules:
        _register()
    elif not any(isinstance(finder, _Awaiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Awaiting())


def _register() -> None:
    from transformers.modeling_utils import PreTrainedModel
    from transformers.quantizers.auto import (
        AUTO_QUANTIZER_MAPPING,
        register_quantization_config,
        register_quantizer,
    )

    from infoprune.loading.sizes import METHOD

    if METHOD in AUTO_QUANTIZER_MAPPING:
        return
    from infoprune.loading.method import PrunedLoader, PrunedSizes, build

    register_quantization_config(METHOD)(PrunedSizes)
    register_quantizer(METHOD)(PrunedLoader)
    _wrap_from_config(PreTrainedModel, build)


def _wrap_from_config(base: type[PreTrainedModel], build: Callable[..., PreTrainedModel]) -> None:
    """Make `AutoModel.from_config` give a model its pruned sizes: load-time methods are for weights alone.

    Without this it would return a model of the dense sizes whose config claims others, and which no one could load.
    """
    stock = base._from_config.__func__  # type: ignore[attr-defined]

    @wraps(stock)
    def from_config(cls: type[PreTrainedModel], config: PretrainedConfig, **options: Any) -> PreTrainedModel:  # noqa: ANN401
        return build(partial(stock, cls), config, options)

    setattr(base, "_from_config", classmethod(from_config))  # type: ignore[arg-type]  # noqa: B010


class _Awaiting(MetaPathFinder):
    """Finder that finds nothing itself, but has a function called after one module is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != AWAITED:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    """Loader of a module that registers the method afterwards."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        _register()
