"""Structured pruning of Transformers by information.

Public names are listed once, in `__init__.pyi`. Each is imported when it is first used: torch and transformers take
seconds to import, `infoprune --help` must not. Importing this package makes transformers open pruned models
(`loading/`).

Example:
    >>> import infoprune
    >>> model = infoprune.load("my-classifier")
    >>> batches = infoprune.make_batches(infoprune.read_texts("reviews.csv"), tokenizer, samples=1024)
    >>> result = infoprune.prune(model, batches, budget="flops=0.5")
    >>> infoprune.save(result.model, "my-classifier-half", tokenizer)
"""

import lazy_loader

from infoprune.loading.registration import register

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register()
del register
