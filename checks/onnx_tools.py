"""Do the programs that people serve graphs with open ours? Optimum, sentence-transformers and transformers.js.

Run: python -m checks.onnx_tools [--folder .cache/onnx-tools] [--without-node] [--only BERT]

Every row is a pruned model as a folder with graphs from `infoprune export`, opened unchanged by a program, and compared
with PyTorch: the smallest cosine of embeddings, the largest difference of logits, or the share of greedy tokens that
are equal. Optimum needs an older transformers, so it has an environment of its own; transformers.js runs in Node.
Environments are made once, in the folder. The exit code is 1 where a float32 graph answers differently.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from checks.onnx_models import EXPECTED, folder_named, write_models

ROOT = Path(__file__).parent.parent
PACKAGES = ("optimum-onnx[onnxruntime]==0.1.0", "sentence-transformers>=5,<6")
TRANSFORMERS_JS = "@huggingface/transformers@4.3.2"
FAR = 1e-3


def python_environment(folder: Path) -> Path:
    """Return the interpreter of an environment with Optimum, made where it is missing."""
    python = folder / "bin" / "python"
    if not (folder / "done").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for packages in (("torch==2.13.0",), PACKAGES):  # torch first, as in the Makefile
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "done").touch()
    return python


def node_environment(folder: Path) -> Path:
    """Return the program for Node beside its packages, which are installed where they are missing."""
    if not (folder / "node_modules").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        # The scripts would fetch libraries for GPUs; those for the CPU are in the packages.
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--cache", folder / "npm"]
        subprocess.run(["npm", "install", *quiet, TRANSFORMERS_JS], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    program = folder / "onnx_transformers_js.mjs"
    shutil.copyfile(ROOT / "checks" / program.name, program)
    return program


def answered(command: list[str | Path]) -> list[dict]:
    """Run a program and return its lines."""
    here = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=here)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def verdict(found: dict) -> tuple[str, bool]:
    """Return how close the answers are to PyTorch's, and whether they are equal but for rounding."""
    if "error" in found:
        return found["error"], False
    known = json.loads((Path(found["folder"]) / EXPECTED).read_text())
    ours, theirs = np.array(known["expected"]), np.array(found["answers"])
    if ours.shape != theirs.shape:
        return f"answers of shape {theirs.shape}, expected {ours.shape}", False
    if known["task"] in ("causal-lm", "seq2seq"):
        new = ours.shape[1] - (1 if known["task"] == "seq2seq" else len(known["given"]["input_ids"][0]))
        same = int((ours == theirs)[:, -new:].sum())
        return f"{same} of {new} tokens", same == new
    if known["task"] == "embedding":
        cosine = float((ours * theirs).sum(-1).min())
        return f"cosine {cosine:.4f}", cosine > 1 - FAR
    return f"difference {np.abs(ours - theirs).max():.1e}", bool(np.abs(ours - theirs).max() < FAR * np.abs(ours).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", default=ROOT / ".cache" / "onnx-tools", type=Path, help="where environments are made"
    )
    parser.add_argument("--without-node", action="store_true", help="leave transformers.js out")
    parser.add_argument("--only", default="", help="models whose name begins so")
    options = parser.parse_args()
    python = python_environment(options.folder / "optimum")
    program = None if options.without_node else node_environment(options.folder / "transformers-js")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        names = write_models(root, options.only)
        folders = {folder_named(root, name): name for name in names}
        rows = answered([python, ROOT / "checks" / "onnx_optimum.py", *folders])
        if program is not None:
            rows += answered(["node", program, root, *(folder.name for folder in folders)])
        verdicts = [(row, *verdict(row)) for row in rows]
        print("| model | program | float32 | int8 |\n|---|---|---|---|")
        for folder, name in folders.items():
            here = [each for each in verdicts if Path(each[0]["folder"]) == folder]
            for tool in dict.fromkeys(row["tool"] for row, _, _ in here):
                cells = [said for row, said, _ in here if row["tool"] == tool]
                print(f"| {name} | {tool} | {' | '.join(cells)} |")
    wrong = [row["folder"] for row, _, equal in verdicts if not equal and not row["int8"]]
    if wrong:
        sys.exit(f"{len(wrong)} float32 graphs answer differently")


if __name__ == "__main__":
    main()
