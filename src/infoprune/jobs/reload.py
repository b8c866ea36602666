"""Reload: load a saved folder with plain transformers in a separate process, and compare the outputs."""

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
"""Largest difference, as a share of the largest output: the last bits depend on memory alignment, which differs."""

# does not import infoprune
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
    """Load a folder with plain transformers, and compare its outputs on one batch with the model's.

    Args:
        folder: Written folder.
        model: Model that was written there.
        batch: Tokenised inputs.

    Raises:
        RuntimeError: The folder cannot be loaded, or the outputs differ: a fault of this library.
    """
    here = copy.deepcopy(model).cpu().eval()
    example = model_inputs(batch, torch.device("cpu"))
    with torch.no_grad():
        expected = here(**example)[0]
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = Path(scratch) / "inputs.safetensors", Path(scratch) / "outputs.safetensors"
        save_file({name: value.contiguous() for name, value in example.items()}, inputs)
        arguments = [str(folder), str(inputs), str(outputs), str(torch.get_num_threads())]
        run = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"plain transformers cannot load {folder}: {run.stderr.strip()[-500:]}")
        answer = load_file(outputs)["answer"]
    if answer.shape != expected.shape or not _same(answer, expected):
        raise RuntimeError(f"{folder} has other outputs in plain transformers than in infoprune")


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * other.abs().max())
