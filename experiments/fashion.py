"""A small ViT trained on Fashion-MNIST, pruned without further training.

Run: python -m experiments.fashion [--seeds 3]      (needs Debian's dataset-fashion-mnist, or FASHION_MNIST=folder)
     python -m experiments.fashion --files fashion  (writes model and pictures as files, for the command line)
"""

import argparse
import gzip
import os
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from PIL import Image
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.task import CACHE, Batches
from infoprune.budgets.budget import Budget
from infoprune.checkpoint import load, save
from infoprune.files.folders import new_folder
from infoprune.pipeline.prune import prune
from infoprune.ranking.criteria import criterion_named
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl

RESULTS = Path(__file__).parent / "results" / "fashion.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/real-models.md"
FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
CRITERIA = ("information", "magnitude", "random")
GOALS = {
    "3/4 of every layer": {"keep": 0.75},
    "1/2 of every layer": {"keep": 0.5},
    "1/4 of every layer": {"keep": 0.25},
    "1/2 of the FLOPs": {"budget": Budget("flops", 0.5)},
    "1/4 of the FLOPs": {"budget": Budget("flops", 0.25)},
}
"""Under a budget the sizes of layers follow the losses if these are in nats; else all layers keep the same share."""
EPOCHS, BATCH, RATE = 5, 256, 2e-3
VALIDATION, SAMPLES = 5000, 1024


def pictures(split: str) -> tuple[Tensor, Tensor]:
    """Return pixels (n, 1, 28, 28) with mean 0 and variance about 1, and labels; "t10k" is the test split."""
    pixels, labels = (_bytes(f"{split}-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    scaled = (pixels[16:].reshape(-1, 1, 28, 28).float() / 255 - 0.2860) / 0.3530
    return scaled, labels[8:].long()


def _bytes(name: str) -> Tensor:
    path = FOLDER / name
    if not path.is_file():
        raise SystemExit(f"{path} does not exist; install dataset-fashion-mnist, or set FASHION_MNIST to its folder")
    return torch.frombuffer(bytearray(gzip.decompress(path.read_bytes())), dtype=torch.uint8)


def dense_model() -> ViTForImageClassification:
    """Return a ViT of four layers on 16 patches, trained once on all but the validation pictures (minutes)."""
    folder = CACHE / "fashion" / "dense"
    if not folder.is_dir():
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=6,
            intermediate_size=384,
            image_size=28,
            patch_size=7,
            num_channels=1,
            num_labels=10,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        model = ViTForImageClassification(config)
        _train(model, *(part[:-VALIDATION] for part in pictures("train")))
        with new_folder(folder) as draft:
            save(model, draft, force=True)
    return load(folder)


def _train(model: ViTForImageClassification, pixels: Tensor, labels: Tensor) -> None:
    length = len(labels) // BATCH
    steps = EPOCHS * length
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    model.train()
    for step in range(steps):
        if step % length == 0:
            order = torch.randperm(len(labels))
            console.print(f"epoch {step // length + 1} of {EPOCHS}")
        rows = order[step % length * BATCH :][:BATCH]
        seen = pixels[rows]
        seen = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, seen.flip(-1), seen)
        loss = model(pixel_values=seen, labels=labels[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def batched(pixels: Tensor, labels: Tensor | None = None, size: int = 256) -> Batches:
    """Return batches in the form of the model's inputs, with or without labels."""
    starts = range(0, len(pixels), size)
    batches = [{"pixel_values": pixels[start : start + size]} for start in starts]
    if labels is None:
        return batches
    return [{**batch, "labels": labels[start : start + size]} for batch, start in zip(batches, starts, strict=True)]


def calibration(seed: int) -> Batches:
    """Return unlabelled training pictures, sampled with this seed."""
    pixels = pictures("train")[0][:-VALIDATION]
    return batched(pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))[:SAMPLES]])


CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def write_files(folder: Path) -> None:
    """Write the dense model with an image processor, calibration pictures and labelled test pictures as files."""
    model = dense_model()
    model.config.id2label = dict(enumerate(CLASSES))
    model.config.label2id = {name: number for number, name in enumerate(CLASSES)}
    processor = ViTImageProcessorPil(size={"height": 28, "width": 28}, image_mean=[0.2860], image_std=[0.3530])
    save(model, folder / "vit", processor)
    order = torch.randperm(60_000 - VALIDATION, generator=torch.Generator().manual_seed(0))[: 2 * SAMPLES]
    for split, part, rows in (("train", "train", order.tolist()), ("t10k", "test", range(10_000))):
        pixels, labels = (_bytes(f"{split}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
        for row in rows:
            place = folder / part / CLASSES[labels[8 + row]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[16:].reshape(-1, 28, 28)[row].numpy()).save(place / f"{row:05}.png")


def main() -> None:
    """Compute the missing cells and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of calibration seeds")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--files", type=Path, help="new folder to write model and pictures to, instead of the table")
    options = parser.parse_args()
    if options.files is not None:
        write_files(options.files)
        return
    model = dense_model()
    held_out = pictures("t10k") if options.split == "test" else tuple(p[-VALIDATION:] for p in pictures("train"))
    batches = batched(*held_out)
    dense = evaluate(model, batches)
    for seed in range(options.seeds):
        texts = calibration(seed)
        for goal in GOALS:
            for name in CRITERIA:
                key = {"split": options.split, "criterion": name, "goal": goal, "seed": seed}
                cell(RESULTS, key, partial(measure, model, texts, batches, dense, name, goal, seed))
    if options.split == "test":
        write_page([row for row in cells(RESULTS) if row["split"] == "test"])
        console.print(f"wrote {PAGE.name}")


def measure(
    model: ViTForImageClassification,
    inputs: Batches,
    batches: Batches,
    dense: Evaluation,
    name: str,
    goal: str,
    seed: int,
) -> dict:
    """Compute one cell: prune, evaluate."""
    result = prune(model, inputs, **GOALS[goal], criterion=criterion_named(name), seed=seed)
    small = evaluate(result.model, batches)
    return {
        "accuracy": small.metrics["accuracy"],
        "dense_accuracy": dense.metrics["accuracy"],
        "kl": mean_kl(dense.logits, small.logits),
        "agreement": agreement(dense.logits, small.logits),
        "parameters": result.report.pruned.parameters / result.report.dense.parameters,
        "flops": result.report.pruned.flops / result.report.dense.flops,
        "kept": {name: kept for name, (kept, _) in result.plan.counts.items()},
    }


def write_page(rows: list[dict]) -> None:
    """Write a table of docs/research/real-models.md from the cells on test pictures."""
    dense = rows[0]["dense_accuracy"]
    lines = [
        f"| kept | criterion | seeds | accuracy (dense {dense:.2%}) | points lost | KL (nats) | agreement | FLOPs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for goal in GOALS:
        for name in CRITERIA:
            found = [row for row in rows if row["goal"] == goal and row["criterion"] == name]
            mean = {word: fmean(row[word] for row in found) for word in ("accuracy", "kl", "agreement", "flops")}
            lines.append(
                f"| {goal} | {name} | {len(found)} | {mean['accuracy']:.2%} | {100 * (dense - mean['accuracy']):.2f} "
                f"| {mean['kl']:.4f} | {mean['agreement']:.2%} | {mean['flops']:.1%} |"
            )
    write_part(PAGE, "fashion", lines)


if __name__ == "__main__":
    main()
