"""Resume: a distillation leaves its result where the same call will find it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

RESULT = "result.safetensors"


def hand_over(lesson: nn.Module, place: Path) -> None:
    """Leaves the result of a training that is complete in the folder of its checkpoints, and nothing else."""
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f"{RESULT}.draft"
    save_file(lesson.state_dict(), draft)
    draft.rename(place / RESULT)
    for path in place.glob("checkpoint-*"):
        shutil.rmtree(path)


def take_over(lesson: nn.Module, place: Path) -> bool:
    """The result of a training that is complete, if it is there."""
    if not (place / RESULT).is_file():
        return False
    lesson.load_state_dict(load_file(place / RESULT), strict=False)
    return True


def name_of(settings: object, models: Sequence[nn.Module], batches: Sequence[Mapping[str, Tensor]]) -> str:
    """A name for this very training: nothing else may go on from its checkpoints.

    Args:
        settings: whose text says all that is set.
        models: that take part.
        batches: trained on.
    """
    digest = hashlib.sha256(str(settings).encode())
    states = [tensor for model in models for tensor in model.state_dict().values()]
    for tensor in (*states, *(tensor for batch in batches for tensor in batch.values())):
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
