"""Resume: store the result of a distillation where the same call will find it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

RESULT = "result.safetensors"


def hand_over(distillation_loss: nn.Module, folder: Path) -> None:
    """Store the result of a complete training in the folder of its checkpoints, and remove these."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{RESULT}.draft"
    save_file(distillation_loss.state_dict(), draft)
    draft.rename(folder / RESULT)
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)


def take_over(distillation_loss: nn.Module, folder: Path) -> bool:
    """Load the stored result of a complete training, and return whether there is one."""
    if not (folder / RESULT).is_file():
        return False
    distillation_loss.load_state_dict(load_file(folder / RESULT), strict=False)
    return True


def name_of(settings: object, models: Sequence[nn.Module], batches: Sequence[Mapping[str, Tensor]]) -> str:
    """Return a name for this exact training: only the same training may resume from its checkpoints.

    Args:
        settings: Settings whose string form contains all values.
        models: Student and teacher.
        batches: Training batches.
    """
    digest = hashlib.sha256(str(settings).encode())
    states = [tensor for model in models for tensor in model.state_dict().values()]
    for tensor in (*states, *(tensor for batch in batches for tensor in batch.values())):
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
