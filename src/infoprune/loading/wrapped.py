"""Wrapped: weights whose names have a prefix of something that was around the model when they were saved."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from transformers import PreTrainedModel

from infoprune.errors import InputError

DEPTH = 3
"""Names that a prefix joins at most, as in "module._orig_mod.model."."""


def new_names(path: Path, model: PreTrainedModel, names: Collection[str]) -> dict[str, str]:
    """Return the names in a model of weights that are saved under others; empty where transformers finds all itself.

    DataParallel, torch.compile and trainers put "module.", "_orig_mod." or "model." in front of all names. A prefix is
    left out where more of the model's weights are found without it than with it, and a warning says so.

    Args:
        path: Folder of the weights, for the messages.
        model: Model as its class builds it.
        names: Names of the weights in the folder.

    Raises:
        InputError: Several prefixes are as good: the file holds more than one model.
    """
    base = f"{model.base_model_prefix}."
    wanted = {name.removeprefix(base): name for name in model.state_dict()}
    stripped: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        parts = name.split(".")
        for depth in range(min(DEPTH, len(parts) - 1) + 1):
            prefix = "".join(f"{part}." for part in parts[:depth])
            stripped[prefix][name] = name.removeprefix(prefix).removeprefix(base)
    found = {prefix: sum(inner in wanted for inner in table.values()) for prefix, table in stripped.items()}
    most = max(found.values(), default=0)
    best = sorted(prefix for prefix, count in found.items() if count == most)
    if 2 * most < len(wanted):
        return {}
    if "" not in best and len(best) > 1:
        raise InputError(
            f"the weights in {path} have the prefixes {', '.join(best)}, each as of a model of its own, expected the "
            "weights of one; save the model that you want with its save_pretrained"
        )
    chosen = best[0]  # "" is the first of all
    renamed = {name: wanted[inner] for name, inner in stripped[chosen].items() if inner in wanted}
    if chosen == "":
        # Where all names lack the prefix of the base model, or all have one too many, transformers sees to it itself.
        unlike = {name for name, new in renamed.items() if name != new}
        return renamed if unlike and len(unlike) < len(renamed) else {}
    warnings.warn(
        f"the names of the weights in {path} begin with {chosen!r}, as if saved from a wrapper around the model; "
        "the prefix is left out",
        stacklevel=2,
    )
    return renamed
