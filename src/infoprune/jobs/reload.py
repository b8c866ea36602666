"""Reload: a saved folder is opened by plain transformers in a process of its own, and has to answer the same."""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from infoprune.statistics.calibration import Batch, model_inputs

TOLERANCE = 1e-5
"""Of the largest number: memory is aligned otherwise in another process, on which the last bits depend."""

# knows nothing of infoprune
_CHILD = """
import sys
import torch, transformers
from safetensors.torch import load_file, save_file
folder, inputs, outputs, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
config = transformers.AutoConfig.from_pretrained(folder)
model = getattr(transformers, config.architectures[0]).from_pretrained(folder, dtype="auto").eval()
with torch.no_grad():
    answer = model(**load_file(inputs))[0]
save_file({"answer": answer.contiguous()}, outputs)
"""


def check_reload(folder: Path, model: PreTrainedModel, batch: Batch) -> None:
    """Opens a folder as anybody would who has transformers alone, and compares one batch's answers.

    Args:
        folder: as it was written.
        model: what was written there.
        batch: a question.

    Raises:
        RuntimeError: it cannot be opened there, or answers otherwise: a fault of this library.
    """
    here = copy.deepcopy(model).cpu().eval()
    question = model_inputs(batch, torch.device("cpu"))
    with torch.no_grad():
        expected = here(**question)[0]
    with tempfile.TemporaryDirectory() as place:
        asked, said = Path(place) / "asked.safetensors", Path(place) / "said.safetensors"
        save_file({name: value.contiguous() for name, value in question.items()}, asked)
        arguments = [str(folder), str(asked), str(said), str(torch.get_num_threads())]
        run = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"plain transformers cannot open {folder}: {run.stderr.strip()[-500:]}")
        answer = load_file(said)["answer"]
    if answer.shape != expected.shape or not _same(answer, expected):
        raise RuntimeError(f"{folder} gives other answers in plain transformers than here")


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * other.abs().max())
